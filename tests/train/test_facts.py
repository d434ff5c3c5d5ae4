"""Facts of training images: quantiles by hand, and a stranger's content."""

import json
from typing import Any

import numpy as np
import pytest

from train.facts import TrainingFacts


def test_quantiles_of_what_was_measured() -> None:
    values = {"short_side_px": list(range(1001)), "jpeg_quality": [None] * 999 + [80, 90], "mean_lare": []}
    facts = TrainingFacts.measure(["PNG"] * 999 + ["JPEG"] * 2, values)
    assert facts.num_images == 1001 and facts.formats == {"PNG": 999, "JPEG": 2}
    assert facts.ranges["short_side_px"] == pytest.approx((5, 995))
    assert facts.ranges["jpeg_quality"] == pytest.approx((80.05, 89.95))
    assert "mean_lare" not in facts.ranges and "gradient_energy" not in facts.ranges
    again = TrainingFacts.from_dict(json.loads(json.dumps(facts.to_dict())))
    assert again == facts


@pytest.mark.parametrize(
    "change", [{"ranges": 3}, {"ranges": {"mean_lare": [1]}}, {"ranges": {"mean_lare": [np.nan, 1]}}, {"formats": None}]
)
def test_a_strangers_content_is_refused(change: dict[str, Any]) -> None:
    facts = TrainingFacts.measure(["PNG"], {"mean_lare": [0.5]}).to_dict()
    with pytest.raises(ValueError, match="its training facts cannot be read"):
        TrainingFacts.from_dict({**facts, **change})
