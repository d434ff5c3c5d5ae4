"""What is said of a picture: a verdict with its doubts, or why there is none."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

VerdictName = Literal["generated", "real", "unsure"]


@dataclass(frozen=True)
class Note:
    """A doubt or a fact that belongs to a verdict.

    Attributes:
        code: What it is about, for programs: "size", "jpeg_quality", "mark_c2pa".
        text: One sentence for a person.
    """

    code: str
    text: str


@dataclass(frozen=True)
class ImageFacts:
    """What is known of a file besides its pixels.

    Attributes:
        sha256: Of the file's bytes, 64 hexadecimal digits; of the pixels, where no file was given.
        width: In px, as stored, before the EXIF orientation is applied.
        height: As `width`.
        format: Pillow's name of the file format; "pixels" where no file was given.
        jpeg_quality: 1 to 100 where the file is a JPEG with one of the standard tables.
    """

    sha256: str
    width: int
    height: int
    format: str
    jpeg_quality: int | None


@dataclass(frozen=True)
class Verdict:
    """A detector's answer on one picture.

    Attributes:
        verdict: "generated", "real" or "unsure".
        probability: Of "generated", temperature-scaled; None for a detector that nothing was fitted for.
        score: What `p_real` is computed of; higher for generated.
        p_real: Share of validation photographs, this picture counted, that score at least as high: in (0, 1].
        false_alarm_rate: The largest `p_real` of a picture that is called generated.
        notes: Doubts about this picture, then what its file says, then what holds for every picture.
        lare: Error map over the whole picture, squashed to a square, (channels, h, w), float32. No proof of anything.
        attention: Weights of the spatial refinement, (h, w), float32, mean over its heads; None where not asked for.
        image: The picture.
        detector: SHA-256 of the detector's description, 64 hexadecimal digits.
        seconds: From the first byte to the verdict, the wait for others of a batch included.
    """

    verdict: VerdictName
    probability: float | None
    score: float
    p_real: float
    false_alarm_rate: float
    notes: tuple[Note, ...]
    lare: NDArray[np.float32]
    attention: NDArray[np.float32] | None
    image: ImageFacts
    detector: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values as commands, files and the web service show them: without the maps, with their mean."""
        return {
            "verdict": self.verdict,
            "probability": self.probability,
            "score": self.score,
            "p_real": self.p_real,
            "false_alarm_rate": self.false_alarm_rate,
            "notes": [asdict(note) for note in self.notes],
            "mean_lare": float(self.lare.mean(dtype=np.float64)),
            "image": asdict(self.image),
            "detector": self.detector,
            "seconds": round(self.seconds, 4),
        }


@dataclass(frozen=True)
class Answer:
    """What became of one picture of several: a verdict, or the reason why there is none.

    Attributes:
        name: As the picture's.
        verdict: None where the picture cannot be used.
        error: Why it cannot, a sentence; "" where it can.
        status: `cache_schema.Status` in lower case: "ok", "unreadable", "too_large", "non_finite".
    """

    name: str
    verdict: Verdict | None
    error: str = ""
    status: str = "ok"

    def to_dict(self) -> dict[str, Any]:
        """Plain values: `name` with a verdict's, or with `error` and `status`."""
        if self.verdict is None:
            return {"name": self.name, "error": self.error, "status": self.status}
        return {"name": self.name, **self.verdict.to_dict()}
