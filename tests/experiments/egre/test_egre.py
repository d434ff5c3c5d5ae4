from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from experiments.answers.answer import Answer
from experiments.answers.readings import MEAN, SPLITS
from experiments.answers.verdicts import WORDS
from experiments.egre import egre
from experiments.egre.egre import DETECTORS, answer, compare_detectors
from experiments.egre.telling import TELLING, TITLES, choose, finding, headline, tables
from experiments.egre.views_telling import MIXED, STUDY
from experiments.study.study import Study
from tests.experiments.egre.test_views import ONE_SIZE, make_sized
from tests.experiments.made_up import as_json, line_with, make_scored
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
    assert differences["esr", "image_only"][MEAN]["mean"] == pytest.approx(0.1)
    assert differences["full", PERMUTED]["b"]["mean"] == pytest.approx(0.21)
    assert {one for one, other in differences if other == "image_only"} == set(TITLES) - {"image_only"}
    assert {other for one, other in differences if one == "full"} == set(TITLES) - {"full"}


NUMBERS = as_json(egre.numbers(SCORED, {STUDY: ONE_SIZE}))


def test_the_finding_tells_what_was_not_found_first_and_chooses_on_validation() -> None:
    text, head = finding(NUMBERS), headline(NUMBERS)
    assert head.index("mage + ECR ") < head.index("concatenated") < head.index("image + ESR ")
    assert WORDS[-1] in head and WORDS[1] in head
    worse = line_with(text, "Image + ECR against image only", WORDS[-1], "−0.050")
    same = line_with(text, "concatenated against image only", WORDS[0], "+0.005")
    better = line_with(text, "against image + ESR + ECR, other images' maps", WORDS[1], "+0.210")
    line_with(text, "Image + ESR + ECR against image + ESR:", WORDS[0], "+0.010")
    assert text.index(worse) < text.index(same) < text.index(better)
    assert choose(NUMBERS) == "map_only"
    line_with(text, "map only:", "0.60 (0.59 to 0.61) ±0.000")


def test_tables_have_a_row_a_detector_and_a_column_a_source() -> None:
    found = list(tables(NUMBERS))
    assert all(len(row) == len(table.columns) for table in found for row in table.rows)
    means, auroc, _, against_image, against_full, _ = found
    assert [row[0] for row in means.rows] == list(TITLES.values()) and "images of a." in means.note
    assert auroc.columns[1:] == (MEAN, "a", "b")
    assert len(against_image.rows) == len(against_full.rows) == len(TITLES) - 1
    assert against_image.rows[0][1].startswith("−0.100") and against_full.rows[-1][1].startswith("+0.210")


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
