"""A detector without models: its verdict follows from the pixels, and a test can hold it back or break it."""

import hashlib
import io
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from PIL import Image

from cache_schema import ImageRejected, decode_image
from detect import Answer, ImageFacts, Note, Picture, Verdict

VERDICTS = ("generated", "real", "unsure")


@dataclass(frozen=True)
class Prepared:
    name: str
    sha256: str
    image: Image.Image
    began: float


@dataclass
class FakeDetector:
    """Offers what the service needs of a detector.

    Attributes:
        gate: Verdicts wait for it; open from the start.
        error: Raised in place of the next verdicts.
        batches: How many pictures each batch had.
        num_prepared: How many pictures have been prepared.
    """

    batch_size: int = 4
    num_threads: int = 2
    error: BaseException | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    batches: list[int] = field(default_factory=list)
    num_prepared: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def prepare(self, picture: Picture) -> Prepared | Answer:
        began = time.monotonic()
        data = picture.load()
        assert isinstance(data, bytes)
        self.num_prepared += 1
        try:
            image = decode_image(data)
        except ImageRejected as error:
            return Answer(picture.name, None, error.reason, error.status.name.lower())
        return Prepared(picture.name, hashlib.sha256(data).hexdigest(), image, began)

    def judge(self, prepared: Sequence[Prepared]) -> list[Answer]:
        self.batches.append(len(prepared))
        self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return [Answer(one.name, verdict_on(one)) for one in prepared]

    def describe(self) -> dict[str, Any]:
        return {
            "method": "classifier",
            "sources": ["toy-a"],
            "test": {"sources": {"toy-a": {"auroc": 0.9731}, "toy-b": {"auroc": 0.6}}},
            "detector": "0" * 64,
            "num_validation_photographs": 400,
            "num_validation_groups": 20,
            "false_alarm_rate": 0.01,
            "false_alarm_rate_asked": 0.01,
            "unsure_probabilities": [0.35, 0.7],
        }


def number_of(image: Image.Image) -> int:
    """What the verdict on a picture follows from: 32 bits of a hash of its pixels."""
    return int(hashlib.sha256(image.tobytes()).hexdigest()[:8], 16)


def verdict_on(one: Prepared) -> Verdict:
    number = number_of(one.image)
    probability = number / 2**32
    lare = np.random.default_rng(number).random((4, 8, 8), dtype=np.float32)
    notes = (Note("size", "The picture is small."),)
    image = ImageFacts(one.sha256, *one.image.size, "PNG", None)
    seconds = time.monotonic() - one.began
    name = VERDICTS[number % 3]
    return Verdict(name, probability, probability, 1 - probability, 0.01, notes, lare, None, image, "0" * 64, seconds)  # type: ignore[arg-type]


def picture(seed: int = 0, side: int = 24) -> bytes:
    """A PNG of noise."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def picture_called(verdict: str) -> bytes:
    """A picture with this verdict."""
    wanted = VERDICTS.index(verdict)
    return next(data for data in map(picture, count()) if number_of(decode_image(data)) % 3 == wanted)


def same(answer: dict[str, Any]) -> dict[str, Any]:
    """What two answers on one picture share: all but the time, and the name."""
    return {name: value for name, value in answer.items() if name not in ("seconds", "name")}
