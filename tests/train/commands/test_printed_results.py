"""The printed table of results.json: figures have the digits that their images carry."""

import pytest

from train.commands.scoring import count_digits, format_results


@pytest.mark.parametrize(
    ("num_images", "digits"), [(0, 2), (1, 2), (100, 2), (2500, 2), (2501, 3), (250_000, 3), (250_001, 4), (10**9, 4)]
)
def test_digits_follow_the_standard_error_of_a_share(num_images: int, digits: int) -> None:
    assert count_digits(num_images) == digits


def test_the_smaller_class_decides_and_results_keep_all_digits() -> None:
    block = {"accuracy": 0.98765, "accuracy_at_val_threshold": None, "average_precision": 0.87654, "auroc": 0.76543}
    few = block | {"n_real": 100, "n_generated": 6000, "auroc_interval": [0.70001, 0.80009]}
    many = block | {"n_real": 6000, "n_generated": 6000, "auroc_interval": None}
    text = format_results({"readings": {"full": {"sources": {"few": few, "many": many}, "controls": {}, "mean": {}}}})
    lines = text.splitlines()[1:]
    assert lines[0].split() == ["full", "few", "6000", "0.99", "0.88", "0.77", "0.70–0.80"]
    assert lines[1].split() == ["full", "many", "6000", "0.988", "0.877", "0.765"]
    assert few["auroc"] == 0.76543
