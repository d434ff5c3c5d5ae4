"""Image sources and readings are free text: any name is data, and is quoted where it becomes the name of a file."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cache_schema import SPLITS, file_name, shown
from train.commands.matrix import run_folder
from train.commands.scoring import format_results
from train.pictures import draw
from train.runs import Run, list_runs
from train.scoring.matrix import METRICS, add_up, check_rows, choose_rows, count_training, format_matrix, name_all

NAMES = ["all", "real", "mean", "..", ".", "../../x", "/etc/passwd", "a/b", "a\0b", ".hidden", "", "-rf", "a b", "%2E."]
NAMES += ["x" * 500, "x" * 499 + "y", "é", "a\nb", "\udcff", "CON", "a%2Fb"]


def _index(*sources: str) -> pa.Table:
    return pa.table({"split": ["train"] * len(sources), "label": [1] * len(sources), "image_source": list(sources)})


@pytest.mark.parametrize("name", NAMES)
def test_a_run_lies_in_its_own_folder_whatever_its_source_is_called(tmp_path: Path, name: str) -> None:
    folder = run_folder(tmp_path, name, 0)
    folder.mkdir(parents=True)
    assert folder.resolve().parent.parent == (tmp_path / "runs").resolve()
    assert not folder.parent.name.startswith(".")


def test_names_of_files_are_one_to_one_and_plain_ones_stay() -> None:
    assert len({file_name(name) for name in NAMES}) == len(NAMES)
    for name in ("sdv5", "toy-a", "vae roundtrip", "Midjourney_v6.1"):
        assert file_name(name) == name
    assert max(len(file_name(name)) for name in NAMES) < 200


@pytest.mark.parametrize("name", ["../x", "a/b", ".."])
def test_pictures_of_a_reading_stay_in_their_folder(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[Path] = []
    for kind in ("roc", "precision_recall", "scores", "reliability"):
        monkeypatch.setattr(draw, f"draw_{kind}", lambda _name, _reading, path: paths.append(path))

    class Reading:
        is_probability = True

    draw.draw_reading(name, Reading(), tmp_path)  # type: ignore[arg-type]
    assert len(paths) == 4 and {path.resolve().parent for path in paths} == {tmp_path.resolve()}


def test_a_source_called_all_is_a_source() -> None:
    index = _index("all", "b")
    assert choose_rows(index, None) == ["all", "b"]
    assert name_all(["all", "b"]) == "all together"
    assert choose_rows(index, ["all", "all together"]) == ["all", "all together"]
    assert choose_rows(_index("a", "b"), ["all"]) == ["all"]
    with pytest.raises(ValueError, match="'all together' is every one of them together"):
        choose_rows(index, ["c"])


def test_a_row_called_all_is_off_the_diagonal_where_it_is_a_source() -> None:
    def seeds(value: float) -> list[dict[str, float]]:
        return [dict.fromkeys(METRICS, value)]

    scored = {
        "all": {"all": seeds(1.0), "b": seeds(0.5)},
        "all together": {"all": seeds(0.9), "b": seeds(0.9)},
    }
    auroc = add_up(scored)["metrics"]["auroc"]
    assert (auroc["diagonal"]["mean"], auroc["off_diagonal"]["mean"]) == (1.0, 0.5)


def test_a_source_called_mean_is_told_from_the_mean() -> None:
    block = {
        "n_real": 2,
        "n_generated": 2,
        "n_groups": None,
        "balanced_accuracy_at_val_threshold": None,
        "share_called_generated": None,
        "average_precision": 0.5,
    }
    block |= {"auroc": 0.5, "auroc_interval": None}
    sources = {"mean": block, "a\nb": block, "(x)": block}
    text = format_results({"readings": {"full": {"sources": sources, "controls": {"x": block}, "mean": block}}})
    assert [line.split()[1] for line in text.splitlines()[1:-1]] == ["'mean'", "'a\\nb'", "'(x)'", "(x)", "mean"]


def test_a_matrix_checks_and_counts_a_source_called_all_alone() -> None:
    samples = [
        (split, label, name if label else "real", name) for split in SPLITS for name in ("all", "b") for label in (0, 1)
    ]
    columns = ("split", "label", "image_source", "subset")
    index = pa.table(dict(zip(columns, map(list, zip(*samples, strict=True)), strict=True)))
    assert [count_training(index, row) for row in ("all", "b", "all together")] == [2, 2, 4]
    lacking = index.filter(
        pc.invert(pc.and_(pc.equal(index["image_source"], "all"), pc.equal(index["split"], "train")))
    )
    with pytest.raises(ValueError, match="all has no generated images in train"):
        check_rows(lacking, ["all"], "test")
    check_rows(lacking, ["b", "all together"], "test")


def test_a_column_called_mean_is_told_from_the_mean_of_a_matrix() -> None:
    scored = {"mean": {"mean": [dict.fromkeys(METRICS, 0.9)], "b": [dict.fromkeys(METRICS, 0.5)]}}
    head = format_matrix(add_up(scored)).splitlines()[1]
    assert head.split()[-3:] == ["b", "'mean'", "mean"]


def test_names_of_strangers_are_text_in_a_matrix_and_its_runs(tmp_path: Path) -> None:
    name = "a\x1b[2J\nzz"
    seeds = [dict.fromkeys(METRICS, 0.9)]
    matrix = add_up({name: {name: seeds}, "all": {name: seeds * 2}}, seeds={name: [0], "all": [0, 1]})
    text = format_matrix(matrix | {"seeds": {name: [0], "all": [0, 1]}}) + list_runs([Run(name, tmp_path, 1, 1)])
    assert "\x1b" not in text and text.count(shown(name)) == len(METRICS) * 2 + 2
    assert not [line for line in text.splitlines() if line.startswith("zz")]
