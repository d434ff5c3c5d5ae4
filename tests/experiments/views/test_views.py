from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache_schema import RULES, Fingerprint, create_cache, store_name, write_dataset
from experiments.answers.answer import Answer, Table
from experiments.answers.rule import Verdict
from experiments.study.study import Study
from experiments.views import views
from experiments.views.size_leak import SizeLeak, compute_roughness, find_smaller, measure_size_leak
from experiments.views.telling import CANVAS, CROP, MIXED, STUDY, TELLING, WHOLE, finding, headline, tables
from experiments.views.views import Views, _load_box, answer, numbers
from tests.experiments.made_up import as_json, line_with, make_scored
from tests.samples import make_sample, make_shard
from train.data.join import Join
from train.scoring.intervals import Estimate


def make_sized(folder: Path, sizes_px: Mapping[str, tuple[int, ...]]) -> Path:
    """A dataset whose images have these sizes in turn, by split, and beside it a cache of random maps for 16 px."""
    samples, i = [], 0
    for split, sizes in sizes_px.items():
        for size in sizes:
            samples.append(make_sample(i, split=split, size_px=size))
            i += 1
    dataset = write_dataset(folder / "data", samples, {}, max_rows=16)
    fields = {"method": "lare", "timestep": 200, "ensemble_size": 2, "compute_dtype": "fp32", "image_size": 16}
    fields |= {"stored_dtype": "float32", "mantissa_bits": 23}
    cache = create_cache(folder / "cache", dataset.dataset_id, Fingerprint(fields | RULES))
    for n, tar in enumerate(dataset.tars):
        cache.write(store_name(tar.name), make_shard(dataset.rows(n), tar, seed=n))
    return dataset.folder


def test_roughness_is_the_step_between_neighbours_over_the_mean() -> None:
    assert compute_roughness(np.array([[[1, 3], [1, 3]]])) == pytest.approx((0 + 2) / 2 / 2)
    assert compute_roughness(np.full((4, 3, 3), 7.0)) == 0
    assert compute_roughness(5 * np.array([[[1, 3], [1, 3]]])) == pytest.approx(0.5)


def test_smaller_is_below_the_median_or_at_it() -> None:
    assert find_smaller(np.array([3, 1, 2])).tolist() == [False, True, False]
    assert find_smaller(np.array([1, 1, 1, 2])).tolist() == [True, True, True, False]
    assert find_smaller(np.array([2, 2])) is None and find_smaller(np.array([], dtype=int)) is None


def test_a_map_sampled_under_the_box_tells_the_size_and_the_whole_map_does_not(tmp_path: Path) -> None:
    # Even samples are real: 16, 32, 16, 32 …, and one of 8 px, which the box does not fit into.
    sizes = (16, 16, 32, 16) * 20 + (8,)
    data = make_sized(tmp_path, {"test": sizes})
    leak = measure_size_leak(Join.open(data, [tmp_path / "cache"]), crop_px=16)
    assert leak is not None and leak.num_images == 40
    assert leak.aurocs[CROP].value == 1  # half of the map on as many cells is smoother
    assert leak.aurocs[CROP].interval[1] == 1 and 0.5 < leak.aurocs[CROP].interval[0] < 1
    assert leak.aurocs[CROP].n_groups == 20
    for view in (CANVAS, WHOLE):
        found = leak.aurocs[view]
        assert found.interval[0] < found.value < found.interval[1] and 0.3 < found.value < 0.7
    alike = make_sized(tmp_path / "alike", {"test": (16, 32, 16, 64)})
    assert measure_size_leak(Join.open(alike, [tmp_path / "alike" / "cache"]), crop_px=16) is None


def test_views_are_compared_with_the_canvas_only(tmp_path: Path) -> None:
    for view in ("canvas", "native"):
        (tmp_path / "config.yaml").write_text(f"data: {{view: {view}, crop_px: 56}}")
        assert _load_box(tmp_path, WHOLE) == 56
    with pytest.raises(ValueError, match="the recipe sees view native"):
        _load_box(tmp_path, CANVAS)


def test_images_of_several_sizes_are_those_named_or_those_of_the_question_on_formats(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Path, str]] = []

    def score_views(_: Study, data: Path, name: str) -> Views:
        seen.append((data, name))
        return ONE_SIZE if data == study.config.data else SEVERAL

    monkeypatch.setattr(views, "score_views", score_views)
    packed, named = study.config.out / "data" / "mixed", tmp_path / "named"
    for folder in (packed, named):
        folder.mkdir(parents=True)
        (folder / "dataset.json").touch()
    assert views.score_all(study) == {STUDY: ONE_SIZE, MIXED: None}
    assert seen == [(study.config.data, "t200-e2")]  # there is no cache
    (study.config.caches / "mixed-t200-e2").mkdir()
    (study.config.caches / "mixed-t200-e2" / "cache.json").touch()
    for each, mixed in ((study, packed), (Study(replace(study.config, mixed_data=named)), named)):
        seen.clear()
        assert views.score_all(each) == {STUDY: ONE_SIZE, MIXED: SEVERAL}
        assert seen == [(study.config.data, "t200-e2"), (mixed, "mixed-t200-e2")]


def test_where_the_studys_own_images_have_several_sizes_no_others_are_missed(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "score_views", lambda *_: SEVERAL)
    assert views.score_all(study) == {STUDY: SEVERAL}


SCORED = {CANVAS: make_scored({"a": 0.8}, {"a": 0.7}), WHOLE: make_scored({"a": 0.7}, {"a": 0.6})}
ONE_SIZE = Views(((64, 64),), SCORED | {CROP: make_scored({"a": 0.7}, {"a": 0.7})}, {}, None)
SEVERAL = Views(
    ((64, 64), (80, 80)),
    SCORED,
    {CROP: "they have 2 sizes"},
    SizeLeak(
        40,
        {
            view: Estimate(auroc, (auroc - 0.1, auroc + 0.1), 60)
            for view, auroc in ((CANVAS, 0.5), (WHOLE, 0.6), (CROP, 0.9))
        },
    ),
)


def tell(views: Mapping[str, Views | None]) -> tuple[str, list[Table]]:
    """Lines and tables."""
    found = as_json(numbers(views))
    return finding(found), list(tables(found))


def test_the_finding_tells_what_was_not_done() -> None:
    text, (table,) = tell({STUDY: ONE_SIZE, MIXED: None})
    line_with(text, MIXED, "python -m experiments formats")
    line_with(text, STUDY, "64 × 64 px")
    line_with(text, "whole map", "canvas", Verdict.WORSE, "−0.100")
    line_with(text, "map under the crop", "canvas", Verdict.SAME, "+0.000")
    assert not any(word in line_with(text, MIXED) for word in Verdict)
    assert [row[:2] for row in table.rows[-2:]] == [
        ("the study's images, 64 × 64 px", "native, map under the crop"),
        ("images of several sizes", "not done"),
    ]


def test_a_refused_view_is_a_row_with_its_reason_and_what_the_map_tells() -> None:
    text, (table, leaks) = tell({STUDY: ONE_SIZE, MIXED: SEVERAL})
    line_with(text, f"map under the crop, {MIXED}", "refused", "the roughness of the map tells an image's size")
    line_with(text, "larger real images", "native, map under the crop: AUROC 0.90 (0.80 to 1.00)")
    assert table.rows[-1] == ("images of several sizes, 2 sizes", "native, map under the crop: refused", *[None] * 5)
    assert "they have 2 sizes" in table.note
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert leaks.rows == ((MIXED, 40, "0.50 (0.40 to 0.60)", "0.60 (0.50 to 0.70)", "0.90 (0.80 to 1.00)"),)
    without = Views(SEVERAL.sizes, SCORED, SEVERAL.refused, None)
    assert "AUROC" not in line_with(tell({STUDY: without})[0], "refused")


def test_the_headline_tells_verdicts_refusals_and_what_was_not_done() -> None:
    assert headline(as_json(numbers({STUDY: ONE_SIZE, MIXED: SEVERAL}))) == (
        "The whole map and the whole map on several sizes are significantly worse than the canvas; the cropped map is "
        "not significantly different from the canvas; the cropped map on several sizes is refused."
    )
    assert headline(as_json(numbers({STUDY: ONE_SIZE, MIXED: None}))).endswith("; images of several sizes: not done.")


def test_every_view_that_was_scored_has_a_name_and_plain_numbers() -> None:
    found = as_json(numbers({STUDY: ONE_SIZE, MIXED: SEVERAL, "none": None}))
    readings, described = found["readings"]["test"], found["views"]
    assert len(readings) == 5 and readings["native, whole map, images of several sizes"]["a"]["auroc"]["mean"] == 0.6
    assert described[MIXED]["size_leak"][CROP] == {"auroc": 0.9, "interval": [0.8, 1.0], "n_groups": 60}
    assert described[STUDY]["less_canvas"][WHOLE]["mean"] == pytest.approx(-0.1) and described["none"] is None


@pytest.mark.slow
def test_detectors_are_trained_once_and_both_sets_of_images_are_seen(study: Study, tmp_path: Path) -> None:
    sizes = {"train": (16, 16, 24, 16) * 4, "validation": (16, 16, 32, 16), "test": (16, 16, 32, 16)}
    mixed = make_sized(tmp_path / "mixed", sizes)
    (tmp_path / "mixed" / "cache").rename(study.config.caches / "mixed-t200-e2")
    overrides = (*study.config.fit_overrides, "--trainer.log_every_n_steps=1")  # an epoch has few batches
    study = Study(replace(study.config, mixed_data=mixed, fit_overrides=overrides))
    found = answer(study)
    assert Answer.load(study.write(found)).tables == found.tables and TELLING.retell(found) == found
    runs = {folder.name for folder in (study.config.out / "detectors").iterdir()}
    own = {"full-t200-e2", "full-native-whole-t200-e2", "full-native-crop-t200-e2"}
    assert runs == own | {"full-mixed-t200-e2", "full-native-whole-mixed-t200-e2"}
    refused = {images: each["refused"] for images, each in found.numbers["views"].items()}
    assert "3" in refused[MIXED]["native-crop"] and not refused[STUDY]
    weights = {path: path.stat() for path in study.config.out.rglob("best.ckpt")}
    assert answer(Study(replace(study.config, mixed_data=None))).numbers["views"][MIXED] is None
    assert {path: path.stat() for path in study.config.out.rglob("best.ckpt")} == weights
