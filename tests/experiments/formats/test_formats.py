import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cache_schema import Dataset, write_dataset
from experiments.answers.answer import Answer
from experiments.answers.rule import Verdict, judge
from experiments.formats import formats
from experiments.formats.file_facts import compute_facts, score_files
from experiments.formats.formats import count_classes, find_missing_class, find_source
from experiments.formats.half_size import (
    HALF_SIZE,
    FalseAlarms,
    compare_half_size,
    pass_through_half_size,
    write_half_size,
)
from experiments.formats.scores import numbers, score_cells
from experiments.formats.telling import (
    AS_THEY_COME,
    CELLS,
    HIGHER,
    TELLING,
    TITLES,
    compare,
    find_own,
    finding,
    headline,
    tables,
)
from experiments.study import study as study_module
from experiments.study.over_sources import METRICS, compute_means
from experiments.study.study import Study
from tests.experiments.made_up import as_json, line_with, list_fitted, list_planned, make_means, run_here
from tests.experiments.small_set import make_study, write_small_set
from tests.samples import encode_png, make_sample
from train.scoring.calibration import Calibration
from train.scoring.scores import Reading


def make_reading(scores: dict[str, tuple[int | None, float]], threshold: float = 0.5) -> Reading:
    """Name of an image → its label and score; its first letter is its group."""
    labels = [label for label, _ in scores.values()]
    table = pa.table(
        {
            "key": list(scores),
            "label": pa.array(labels, pa.int8()),
            "image_source": [{0: "real", 1: "fake", None: HALF_SIZE}[label] for label in labels],
            "subset": ["raw"] * len(scores),
            "group": [name[0] for name in scores],
        }
    )
    values = np.array([[score for _, score in scores.values()]])
    return Reading(table, values, (Calibration(threshold),), is_probability=True)


def test_losses_compare_the_images_that_both_packings_have() -> None:
    raw = make_reading({"a": (0, 0.1), "b": (0, 0.95), "c": (1, 0.8), "d": (1, 0.9)})
    select = make_reading({"d": (1, 0.3), "c": (1, 0.8), "a": (0, 0.4)})
    cells = {(AS_THEY_COME, AS_THEY_COME): {"full": raw}, (AS_THEY_COME, "select"): {"full": select}}
    scores, losses = score_cells(cells)
    assert scores[AS_THEY_COME, AS_THEY_COME]["full"]["auroc"].mean == pytest.approx(1 / 2)
    assert scores[AS_THEY_COME, "select"]["full"]["auroc"].mean == pytest.approx(1 / 2)
    assert losses["select"]["full"].mean == pytest.approx(1 / 2 - 1)  # without b it was 1 as they come


FILE = {"mixed": 0.99, "common": 0.6, "select": 0.5}


def make_scores(cells: tuple[tuple[str, str], ...] = CELLS, file: dict[str, float] = FILE) -> dict:
    return {
        (trained, tested): {
            name: dict.fromkeys(METRICS, make_means(file[tested] if name == "file" else 0.9)) for name in TITLES
        }
        for trained, tested in cells
    }


def make_losses(**values: float) -> dict:
    return {way: {name: make_means(values.get(name, -0.2)) for name in TITLES} for way in ("common", "select")}


ALARMS = {
    ("mixed", "full"): FalseAlarms(0.7, (0.6, 0.8), 0.01, 5, 90, (0.1, 0.4), (0.2, 0.4)),
    ("common", "full"): FalseAlarms(0.5, (0.4, 0.6), 0.01, 5, 90, (0.1, 0.1), (-0.1, 0.1)),
    ("mixed", "mean_lare"): FalseAlarms(0.3, (0.2, 0.4), None, 0, 90, (0.5, 0.1), (-0.5, -0.3)),
}


COUNTS = {"mixed": {"train": (1, 2)}, "select": {"train": (0, 1234)}}


def numbers_of(scores: dict, losses: dict, missing: dict[str, str] | None = None) -> dict:
    about = {"missing": missing or {}, "counts": COUNTS, "is_made_here": False}
    return as_json({**numbers(scores, losses, ALARMS), **about})


def test_finding_says_what_the_file_alone_tells() -> None:
    found = numbers_of(make_scores(), make_losses())
    text = finding(found)
    for name, auroc in (("as they come", "0.99 (0.98 to 1.00)"), ("match common", "0.60 (0.59 to 0.61)")):
        line_with(text, "Facts of the file", name, "above chance", auroc)
    line_with(text, "Facts of the file", "consistent with chance", "match select", "0.50 (0.49 to 0.51)")
    assert "0.99 (as they come), 0.60 (match common) and 0.50 (match select)" in headline(found)
    judged = judge(compare(numbers_of(make_scores(file=dict.fromkeys(FILE, 0.5)), make_losses())))
    assert {verdict for key, verdict in judged.items() if key[0] == "file"} == {Verdict.SAME}


def test_finding_says_what_matching_takes_and_who_alarms_falsely() -> None:
    text = finding(numbers_of(make_scores(), make_losses(full=0.1, map_only=0.002)))
    lower = [
        line_with(text, f"{name}, tested match common", HIGHER[Verdict.WORSE], "−0.200")
        for name in ("Gradient energy", "Mean LaRE", "Image only")
    ]
    same = line_with(text, "Map only, tested match common", Verdict.SAME, "+0.002")
    higher = line_with(text, "Image and map, tested match common", HIGHER[Verdict.BETTER], "+0.100")
    assert max(text.index(line) for line in lower) < text.index(same) < text.index(higher)
    more, no, real = text.splitlines()[-3:]
    assert "significantly more generated, trained as they come" in more and "image and map (0.70)" in more
    assert "no significant difference, trained match common" in no and "image and map (0.50)" in no
    assert "significantly more real, without a detector" in real and "mean LaRE (0.30)" in real


def test_finding_and_tables_begin_and_end_with_what_was_not_done() -> None:
    missing = {"select": "it leaves no photographs in train"}
    scores = make_scores(tuple(cell for cell in CELLS if "select" not in cell))
    found = numbers_of(scores, {"common": make_losses()["common"]}, missing)
    first = finding(found).splitlines()[0]
    assert "atch select" in first and missing["select"] in first and list(find_own(found)) == ["mixed", "common"]
    auroc, *others, alarms, counts = tables(found)
    assert auroc.rows[-1][:3] == ("match select", "match select", "not done: it leaves no photographs in train")
    assert all(len(row) == len(table.columns) for table in (auroc, *others, alarms, counts) for row in table.rows)
    shown = ("0.70 (0.60 to 0.80) ±0.010", "0.10 → 0.40", "0.30 (0.20 to 0.40)")
    assert alarms.rows[0] == ("image and map", "as they come", *shown)
    assert counts.rows == (("as they come", "1 / 2"), ("match select", "0 / 1,234")) and found["missing"] == missing


def test_a_class_that_a_split_lacks_is_named(tmp_path: Path) -> None:
    splits = ("train", "train", "validation", "validation", "test")
    samples = [make_sample(i, split=split) for i, split in enumerate(splits)]  # even ones are real
    counts = count_classes(write_dataset(tmp_path / "data", samples, {}))
    assert counts == {"train": (1, 1), "validation": (1, 1), "test": (1, 0)}
    assert find_missing_class(counts) == "it leaves no generated images in test"
    assert find_missing_class(counts | {"test": (1, 1)}) is None


def test_a_study_without_source_and_photographs_is_refused(study: Study) -> None:
    with pytest.raises(ValueError, match="raw and photos are both null"):
        find_source(study)


def test_facts_of_a_file() -> None:
    facts = {"width": [64, 128], "height": [32, 64], "size": [4096, 2048], "format": ["PNG", "JPEG"]}
    assert compute_facts(pa.table(facts)).tolist() == [[6, 5, 1, 0], [7, 6, -2, 1]]


@pytest.mark.parametrize(("real_px", "auroc"), [(20, 1.0), (16, 0.5)])
def test_files_tell_the_classes_by_their_size_alone(tmp_path: Path, real_px: int, auroc: float) -> None:
    samples = []
    for i, split in enumerate(["train"] * 40 + ["validation"] * 20 + ["test"] * 40):
        side = 16 if i % 2 else real_px
        pixels = np.random.default_rng(i // 2).integers(0, 256, (side, side, 3), dtype=np.uint8)  # of pairs alike
        samples.append(make_sample(i, image=encode_png(pixels), size_px=side, split=split))
    dataset = write_dataset(tmp_path / "data", samples, {})
    reading = score_files(dataset.folder, dataset.folder)
    assert set(reading.table["split"].to_pylist()) == {"test"} and len(reading.table) == 40
    assert compute_means(reading)["auroc"].mean == pytest.approx(auroc)


def test_half_size_keeps_the_size_and_takes_the_detail() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (31, 40, 3), dtype=np.uint8)
    passed = pass_through_half_size(Image.fromarray(noise))
    assert passed.shape == noise.shape and passed.std() < 0.7 * noise.std()
    flat = np.full((31, 40, 3), 77, dtype=np.uint8)
    assert np.array_equal(pass_through_half_size(Image.fromarray(flat)), flat)


def test_real_test_images_are_written_twice(photographs: Path, tmp_path: Path) -> None:
    data = write_small_set(tmp_path / "small", photographs)
    rows = write_half_size(data.folder, tmp_path / "half").table().to_pylist()
    copies = [row for row in rows if row["image_source"] == HALF_SIZE]
    reals = {row["key"]: row for row in rows if row["image_source"] == "real"}
    assert len(copies) == len(reals) == 6 and {row["split"] for row in rows} == {"test"}
    for row in copies:
        assert row["label"] is None and row["group"] == reals[row["derived_from"]]["group"]
        assert row["sha256"] != reals[row["derived_from"]]["sha256"]


def test_half_size_is_a_false_alarm_where_scores_rise() -> None:
    before = {f"{name}-real": (0, score) for name, score in zip("abcd", (0.1, 0.2, 0.6, 0.3), strict=True)}
    after = {f"{name}-half": (None, score) for name, score in zip("abcd", (0.7, 0.8, 0.9, 0.4), strict=True)}
    found = compare_half_size({("mixed", "full"): make_reading(before | after)})["mixed", "full"]
    assert found.auroc == pytest.approx(15 / 16) and found.called == (1 / 4, 3 / 4) and found.sd is None
    assert found.interval is not None and found.interval[0] < found.auroc <= found.interval[1]
    assert found.rise[0] <= 1 / 2 <= found.rise[1]
    same = {f"{name[0]}-half": (None, score) for name, (_, score) in before.items()}
    still = compare_half_size({"full": make_reading(before | same)})["full"]
    assert still.auroc == 0.5 and still.rise[0] == -still.rise[1] and 0 < still.rise[1] < 1  # of four photographs
    assert (found.n_groups, still.n_groups) == (4, 4)


@pytest.mark.slow
def test_answer_from_photographs_to_false_alarms_and_again(
    photographs: Path, model_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "run_module", run_here)
    data = write_small_set(tmp_path / "small", photographs)
    study = make_study(data.folder, model_folders["a"], tmp_path, photos=photographs)
    answer = formats.answer(study)
    assert Answer.load(study.write(answer)).finding == answer.finding
    assert {run for run in list_planned(formats.work(study)) if "select" not in run} == list_fitted(study)
    assert answer.numbers["missing"] == {"select": "it leaves no photographs in train"}
    assert TELLING.retell(answer) == answer
    cells = [(cell["trained"], cell["tested"]) for cell in answer.numbers["cells"]]
    assert cells == [("mixed", "mixed"), ("mixed", "common"), ("common", "common")]
    assert answer.numbers["cells"][0]["file"]["auroc"]["mean"] == 1  # JPEG or PNG
    mixed, common = (Dataset.open(study.config.out / "data" / way).table() for way in ("mixed", "common"))
    assert len(mixed["width"].unique()) > 5 and common["width"].unique().to_pylist() == [256]
    assert (study.config.caches / f"mixed-{study.default_cache}" / "cache.json").is_file()
    assert len(answer.numbers["half_size"]) == 2 * 3 + 2  # detectors of both packings, and readings without one
    stamps = {path: path.stat() for path in study.config.out.rglob("*.parquet")}
    assert json.dumps(formats.answer(study).numbers) == json.dumps(answer.numbers)
    assert {path: path.stat() for path in study.config.out.rglob("*.parquet")} == stamps
