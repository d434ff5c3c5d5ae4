"""The matrix: what is added up, what is run, skipped and refused, and one real run."""

import pyarrow as pa
import pytest

from train.scoring.matrix import ALL, METRICS, add_up, choose_rows, format_matrix


def _seeds(*values: float) -> list[dict[str, float]]:
    return [dict.fromkeys(METRICS, value) for value in values]


SCORED = {
    "a": {"a": _seeds(0.9, 1.0), "b": _seeds(0.6, 0.5)},
    "b": {"a": _seeds(0.7, 0.7), "b": _seeds(0.8, 1.0)},
    ALL: {"a": _seeds(1.0, 1.0), "b": _seeds(1.0, 1.0)},
}


def test_cells_are_means_and_deviations_over_seeds() -> None:
    result = add_up(SCORED)
    assert (result["rows"], result["columns"]) == (["a", "b", ALL], ["a", "b"])
    auroc = result["metrics"]["auroc"]
    assert auroc["cells"][0][1] == pytest.approx({"mean": 0.55, "sd": 0.5**0.5 / 10})
    assert auroc["row_means"][0] == {"mean": pytest.approx(0.75), "sd": pytest.approx(0)}
    assert auroc["diagonal"] == pytest.approx({"mean": 0.925, "sd": 0.15 / 2**0.5})  # 0.85 and 1.0
    assert auroc["off_diagonal"] == pytest.approx({"mean": 0.625, "sd": 0.05 / 2**0.5})  # 0.65 and 0.6; not "all"


def test_one_seed_has_no_deviation_and_all_sources_no_diagonal() -> None:
    result = add_up({ALL: {"a": _seeds(0.9), "b": _seeds(0.8)}})["metrics"]["auroc"]
    assert result["cells"] == [[{"mean": 0.9, "sd": None}, {"mean": 0.8, "sd": None}]]
    assert result["diagonal"] is result["off_diagonal"] is None


def test_the_table_has_a_line_a_row() -> None:
    lines = format_matrix(add_up(SCORED)).splitlines()
    assert lines[0] == "balanced accuracy at the threshold from validation"
    assert lines[1].split() == ["trained", "on", "\\", "tested", "on", "a", "b", "mean"]
    assert lines[2].split() == ["a", "0.950", "±0.071", "0.550", "±0.071", "0.750", "±0.000"]
    assert lines[5].split() == ["mean", "of", "the", "diagonal", "0.925", "±0.106"]


def test_rows_are_the_training_sources() -> None:
    names = ["sd", "gan", "real", "later"]
    columns = {"split": ["train", "train", "train", "test"], "label": [1, 1, 0, 1], "image_source": names}
    index = pa.table(columns)
    assert choose_rows(index, None) == ["gan", "sd"]
    assert choose_rows(index, ["sd", ALL, "sd"]) == ["sd", ALL]
    with pytest.raises(ValueError, match=r"sources names \['later'\]: training samples are of \['gan', 'sd'\]"):
        choose_rows(index, ["later"])
