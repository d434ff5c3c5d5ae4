"""The printed table of results.json: figures have the digits that their images carry."""

import pytest

from train.commands.scoring import count_digits, format_results


@pytest.mark.parametrize(
    ("num_images", "digits"), [(0, 2), (1, 2), (100, 2), (2500, 2), (2501, 3), (250_000, 3), (250_001, 4), (10**9, 4)]
)
def test_digits_follow_the_standard_error_of_a_share(num_images: int, digits: int) -> None:
    assert count_digits(num_images) == digits


def _block(**values: object) -> dict[str, object]:
    names = ("balanced_accuracy_at_val_threshold", "share_called_generated", "average_precision", "auroc")
    return dict.fromkeys((*names, "auroc_interval", "n_groups")) | {"n_real": 6000, "n_generated": 6000} | values


def test_the_smaller_class_decides_and_results_keep_all_digits() -> None:
    figures = {"balanced_accuracy_at_val_threshold": 0.98765, "average_precision": 0.87654, "auroc": 0.76543}
    few = _block(**figures, n_real=100, auroc_interval=[0.70001, 0.80009], n_groups=100)
    many = _block(**figures, n_groups=6000)
    text = format_results({"readings": {"full": {"sources": {"few": few, "many": many}, "controls": {}, "mean": {}}}})
    lines = text.splitlines()[1:]
    assert lines[0].split() == ["full", "few", "6000", "100", "0.99", "0.88", "0.77", "0.70–0.80"]
    assert lines[1].split() == ["full", "many", "6000", "6000", "0.988", "0.877", "0.765"]
    assert few["auroc"] == 0.76543
    assert "Few groups" not in text


def test_a_control_shows_the_share_called_generated_and_few_groups_are_told() -> None:
    source = _block(balanced_accuracy_at_val_threshold=0.9, share_called_generated=0.8, auroc=0.95, n_groups=40)
    control = _block(share_called_generated=0.69, auroc=0.6, n_groups=14)
    blocks = {"sources": {"sd": source}, "controls": {"blurred-real": control}, "mean": {}}
    heads, first, second, *notes = format_results({"readings": {"full": blocks}}).splitlines()
    assert heads.split()[-6:] == ["bal.acc", "called", "AP", "AUROC", "95", "%"]
    assert first.split()[3:] == ["40", "0.900", "0.800", "0.950"]
    assert second.split()[1:] == ["(blurred-real)", "6000", "14", "0.690", "0.600"]
    assert any("Few groups: 14" in line for line in notes)
