"""Verdicts that no detector has given, for tests of what is done with them."""

from typing import Any

import numpy as np

from detect.verdict import ImageFacts, Note, Verdict

DETECTOR = "d" * 64


def make_verdict(seed: int = 0, **changes: Any) -> Verdict:
    """A verdict with a map of 4 x 8 x 8 cells."""
    fields: dict[str, Any] = {
        "verdict": "generated",
        "probability": 0.97,
        "score": 3.5,
        "p_real": 1 / 200,
        "false_alarm_rate": 0.01,
        "notes": (Note("size", "The picture is larger than those of the training."),),
        "lare": np.random.default_rng(seed).gamma(2.0, 0.5, (4, 8, 8)).astype(np.float32),
        "attention": None,
        "image": ImageFacts("a" * 64, 40, 30, "PNG", None),
        "detector": DETECTOR,
        "seconds": 0.25,
        **changes,
    }
    return Verdict(**fields)
