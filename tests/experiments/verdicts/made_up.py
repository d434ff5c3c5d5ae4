"""Verdicts with chosen scores, and the description of the detector that would have given them."""

from typing import Any

from experiments.verdicts.seen import PACKED, Seen
from train import Calibration, DetectorFile, DiffusionModelName, Photographs, ProbeFile, TrainingFacts

NUM_VALIDATION = 99
BANDS = ((0.45, 0.55), (0.4, 0.6), (0.3, 0.7), (0.2, 0.8), (0.1, 0.9))
DESCRIPTION = DetectorFile(
    method="classifier",
    probes=(ProbeFile("f" * 64, {"timestep": 200}, DiffusionModelName()),),
    photographs=Photographs.of([i / 1000 for i in range(NUM_VALIDATION)], [str(i) for i in range(NUM_VALIDATION)]),
    facts=TrainingFacts.measure(["PNG"], {}),
    calibration=Calibration(0.5, 1.0, BANDS),
)
"""99 validation photographs, each a group, score 0 to 0.098: they support 1 %. Scores of 0.4 to 0.6 are unsure."""
GENERATED, UNSURE, REAL = 0.9, 0.5, 0.05
"""Scores with these verdicts at a rate of 1 %."""
FORMAT = ("format",)


def seen(key: str, score: float | None, label: int | None = 0, file: str = PACKED, **changes: Any) -> Seen:
    """A file of an image in a group of its own; the probability is the score."""
    source = {0: "real", 1: "toy", None: "control"}[label]
    p_real = None if score is None else DESCRIPTION.photographs.p_real(score)
    known: dict[str, Any] = {"image_source": source, "group": key, "probability": score, "p_real": p_real, "unlike": ()}
    return Seen(file=file, key=key, label=label, score=score, **known | changes)
