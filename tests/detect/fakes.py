"""A detector that has learnt nothing: its verdicts follow from a file's hash, at once."""

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from cache_schema import ImageRejected, decode_image
from detect.picture import Picture
from detect.verdict import Answer, ImageFacts, Note, Verdict
from tests.detect.verdicts import DETECTOR, make_verdict

READ_AHEAD = 3


@dataclass
class FakeDetector:
    """Reads `READ_AHEAD` pictures before it answers the first, as a detector of batches does."""

    identity: str = DETECTOR
    seconds_a_picture: float = 0.0
    asked: list[str] = field(default_factory=list)
    with_attention: bool = False

    @property
    def description(self) -> Any:
        return SimpleNamespace(identity=self.identity)

    def stream(self, pictures: Iterable[Picture]) -> Iterator[Answer]:
        waiting: deque[Picture] = deque()
        for picture in pictures:
            waiting.append(picture)
            if len(waiting) > READ_AHEAD:
                yield self._answer(waiting.popleft())
        while waiting:
            yield self._answer(waiting.popleft())

    def _answer(self, picture: Picture) -> Answer:
        time.sleep(self.seconds_a_picture)
        self.asked.append(picture.name)
        try:
            data = picture.load()
            assert isinstance(data, bytes)
            image = decode_image(data)
        except ImageRejected as error:
            return Answer(picture.name, None, error.reason, error.status.name.lower())
        except OSError as error:
            return Answer(picture.name, None, str(error.strerror), "unreadable")
        facts = ImageFacts(hashlib.sha256(data).hexdigest(), *image.size, "PNG", None)
        return Answer(picture.name, self._verdict(facts))

    def _verdict(self, facts: ImageFacts) -> Verdict:
        draw = int(facts.sha256[:8], 16)
        p_real = (1 + draw % 200) / 200
        verdict = "generated" if p_real <= 0.01 else "unsure" if p_real < 0.3 else "real"
        notes = (Note("size", "It is smaller than all images of the training."),) if draw % 3 == 0 else ()
        return make_verdict(
            draw,
            verdict=verdict,
            probability=1 - p_real,
            score=1 / p_real,
            p_real=p_real,
            notes=notes,
            image=facts,
            detector=self.identity,
            attention=np.ones((14, 14), np.float32) if self.with_attention else None,
        )
