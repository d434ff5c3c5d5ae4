from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments.answers.rule import Verdict, judge
from experiments.degradation.attack import EPSILONS, Victim, fgsm, numbers
from experiments.degradation.attack_telling import (
    AGAIN,
    BEFORE,
    TITLES,
    chart_attacks,
    compare_attacks,
    tabulate_attacks,
    tell_attacks,
    tell_below_chance,
)
from experiments.study.study import Study
from tests.experiments.made_up import as_json, line_with, make_means
from train.model import LareClassifier


class Sum(nn.Module):
    """Calls bright images generated, and nothing else."""

    def forward(self, image: Tensor, lare: Tensor) -> Tensor:
        brightness = image.mean(dim=(1, 2, 3)) + 0 * lare.mean(dim=(1, 2, 3))
        return torch.stack([-brightness, brightness], dim=1)


def test_every_pixel_moves_one_step_towards_the_other_class() -> None:
    image = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    attacked = fgsm(Sum(), image, torch.ones(2, 4, 2, 2), torch.tensor([0, 1]), (1, 8))
    assert list(attacked) == [1, 8] and all(each.dtype == torch.uint8 for each in attacked.values())
    for size, images in attacked.items():
        assert (images[0] == 100 + size).all() and (images[1] == 100 - size).all()


def test_pixels_stay_in_range() -> None:
    image = torch.tensor([254, 3], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 3, 4, 4)
    attacked = fgsm(Sum(), image, torch.ones(2, 4, 2, 2), torch.tensor([0, 1]), (8,))[8]
    assert (attacked[0] == 255).all() and (attacked[1] == 0).all()


def test_a_detector_that_sees_other_pixels_than_stage_1_is_refused(study: Study, tmp_path: Path) -> None:
    record = {"trained_on": {"view": {"view": "native", "alignment": "whole", "crop_px": 16}}}
    LareClassifier("resnet_tiny_clip", image_size=16, record=record).save_pretrained(tmp_path / "detector")
    with pytest.raises(ValueError, match="was trained on view native: the attack needs view canvas"):
        Victim.load(tmp_path / "detector", study.config.data, study.cache("t200-e2"), "as they are")


def make_attacks(**values: tuple[float, ...]) -> dict[str, dict[int, dict[str, Any]]]:
    """Reading → step → both metrics alike; 0.9, 0.8, … where no values are given."""
    default = (0.9, 0.8, 0.7, 0.6, 0.55)
    names = {name: name.replace(AGAIN, "_again").replace(BEFORE, "_before") for name in TITLES}
    return {
        name: {
            size: dict.fromkeys(("balanced_accuracy", "average_precision", "auroc"), make_means(value))
            for size, value in zip((0, *EPSILONS), values.get(short, default), strict=True)
        }
        for name, short in names.items()
    }


def tell(attacks: dict[str, dict[int, dict[str, Any]]]) -> str:
    found = as_json(numbers(attacks))
    judged = judge(compare_attacks(found["attacks"]))
    return "\n".join(tell_attacks(found["attacks"], found["new_maps"].get("balanced_accuracy"), judged))


def test_finding_names_the_step_from_which_a_detector_is_below_chance() -> None:
    attacks = make_attacks(full=(0.9, 0.8, 0.4, 0.2, 0.1))
    judged = judge(compare_attacks(as_json(numbers(attacks))["attacks"]))
    assert "from 2/255 on" in tell_below_chance(judged, "full")
    assert "not below chance" in tell_below_chance(judged, "image_only")
    text = tell(attacks)
    line_with(text, "Image and map, maps from before:", "0.90 → 0.80 → 0.40 → 0.20 → 0.10", "2/255")
    assert "/255" not in line_with(text, "Image only:", "0.90 → 0.80 → 0.70 → 0.60 → 0.55")
    assert "0/255, 1/255, 2/255, 4/255, 8/255" in text.splitlines()[0]


@pytest.mark.parametrize("last", [0.7, 0.3, 0.5])
def test_what_new_maps_change_is_of_one_seed_and_has_no_verdict(last: float) -> None:
    before = (0.9, 0.8, 0.7, 0.6, 0.5)
    attacks = make_attacks(full_before=before, full_again=(*before[:-1], last))
    change = numbers(attacks)["new_maps"]["balanced_accuracy"]["mean"]
    assert change == pytest.approx(last - 0.5)
    shown = f"{change:+.3f}".replace("-", "−")
    line_with(tell(attacks), "Maps made again change", shown, "images alone", Verdict.FEW_SEEDS)


def test_tables_and_chart_have_every_step_and_reading() -> None:
    found = as_json(numbers(make_attacks()))["attacks"]
    for table in tabulate_attacks(found):
        assert [row[0] for row in table.rows] == [0, 1, 2, 4, 8] and len(table.columns) == 1 + len(TITLES)
    (chart,) = chart_attacks(found)
    assert [curve.name for curve in chart.curves] == list(TITLES.values())
    assert chart.curves[0].x == (0, 1, 2, 4, 8) and np.allclose(chart.curves[0].y, (0.9, 0.8, 0.7, 0.6, 0.55))
    assert found["image only"]["8"]["auroc"]["mean"] == pytest.approx(0.55)
