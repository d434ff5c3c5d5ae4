from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from experiments.answers.answer import Answer
from experiments.egre.egre import DETECTORS, TITLES, answer, compare_detectors, describe, sum_up, tabulate
from experiments.egre.views import MIXED, STUDY
from experiments.study.comparisons import MEAN
from experiments.study.settings import SPLITS
from experiments.study.study import Study
from tests.experiments.egre.test_views import make_sized
from tests.experiments.made_up import make_scored
from workflow.stages import PERMUTED

AUROCS = {"image_only": 0.7, "map_only": 0.6, "concat": 0.705, "esr": 0.8, "ecr": 0.65, "full": 0.81, PERMUTED: 0.6}
WIDE = {"concat": 0.03, "esr": 0.03}
"""Half widths of intervals other than 0.01, so that differences have some too."""
SCORED = {
    name: make_scored({"a": 1 - auroc}, {"a": auroc, "b": auroc}, WIDE.get(name, 0.01))
    for name, auroc in AUROCS.items()
}


def test_each_is_compared_with_the_image_alone_and_both_with_each() -> None:
    differences = compare_detectors(SCORED)
    assert differences["esr", "image_only"][MEAN].mean == pytest.approx(0.1)
    assert differences["full", PERMUTED]["b"].mean == pytest.approx(0.21)
    assert {one for one, other in differences if other == "image_only"} == set(TITLES) - {"image_only"}
    assert {other for one, other in differences if one == "full"} == set(TITLES) - {"full"}


def test_the_finding_tells_what_was_not_found_first_and_chooses_on_validation() -> None:
    assert sum_up(compare_detectors(SCORED)) == (
        "Against the image alone, worse: image + ECR; not told apart: image and map concatenated; better: image + ESR, "
        "image + ESR + ECR."
    )
    text = describe(SCORED, compare_detectors(SCORED))
    worse, same, better = (text.index(head) for head in ("Worse: ", "Not told apart: ", "Better: "))
    assert worse < same < better
    assert "Worse: image + ECR than image only, −0.050" in text
    assert "image and map concatenated and image only, +0.005" in text[same:better]
    assert "image + ESR + ECR and image + ESR, +0.010" in text[same:better]
    assert "image + ESR + ECR than image + ESR + ECR, other images' maps, +0.210" in text[better:]
    assert text.endswith("Validation chooses map only, whose AUROC on the test is 0.60 (0.59 to 0.61) ±0.000.")


def test_tables_have_a_row_a_detector_and_a_column_a_source() -> None:
    tables = tabulate(SCORED, compare_detectors(SCORED))
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    means, auroc, _, against_image, against_full = tables
    assert [row[0] for row in means.rows] == list(TITLES.values()) and "images of a." in means.note
    assert auroc.columns == ("", MEAN, "a", "b")
    assert len(against_image.rows) == len(against_full.rows) == len(TITLES) - 1


@pytest.mark.slow
def test_detectors_are_trained_once_and_both_sets_of_images_are_seen(study: Study, tmp_path: Path) -> None:
    sizes = {"train": (16, 16, 24, 16) * 4, "validation": (16, 16, 32, 16), "test": (16, 16, 32, 16)}
    mixed = make_sized(tmp_path / "mixed", sizes)
    (tmp_path / "mixed" / "cache").rename(study.config.caches / "mixed-t200-e2")
    overrides = (*study.config.fit_overrides, "--trainer.log_every_n_steps=1")  # an epoch has few batches
    study = Study(replace(study.config, mixed_data=mixed, fit_overrides=overrides))
    found = answer(study)
    assert Answer.load(study.write(found)).tables == found.tables
    runs = {folder.name for folder in (study.config.out / "detectors").iterdir()}
    names = set(DETECTORS) - {"image_only"} | {"full-native-whole", "full-native-crop"}
    mixed_runs = {"full-mixed-t200-e2", "full-native-whole-mixed-t200-e2"}
    assert runs == {f"{name}-t200-e2" for name in names} | {"image_only"} | mixed_runs
    for name, parts in {
        "concat": (False, False, True),
        "esr": (True, False, False),
        "ecr": (False, True, False),
    }.items():
        config = study.config.out / "detectors" / f"{name}-t200-e2" / "seed-0" / "config.yaml"
        model = yaml.safe_load(config.read_text())["model"]
        assert (model["spatial"], model["channel"], model["concat"]) == parts
    assert set(found.numbers["readings"]) == set(SPLITS)
    assert set(found.numbers["readings"]["test"]) >= set(TITLES.values())
    assert (
        "3" in found.numbers["views"][MIXED]["refused"]["native-crop"] and not found.numbers["views"][STUDY]["refused"]
    )
    weights = {path: path.stat() for path in study.config.out.rglob("best.ckpt")}
    assert answer(Study(replace(study.config, mixed_data=None))).numbers["views"][MIXED] is None
    assert {path: path.stat() for path in study.config.out.rglob("best.ckpt")} == weights
