from dataclasses import replace

import pytest
import yaml

from experiments.answers.answer import Answer
from experiments.answers.readings import MEAN, SPLITS
from experiments.answers.rule import Verdict
from experiments.egre import egre
from experiments.egre.egre import DETECTORS, answer, compare_detectors
from experiments.egre.telling import TELLING, TITLES, choose, finding, headline, tables
from experiments.study.study import Study
from tests.experiments.made_up import as_json, line_with, make_scored
from workflow.stages import CONTROLS

AUROCS = {"image_only": 0.7, "map_only": 0.6, "concat": 0.705, "esr": 0.8, "ecr": 0.65, "full": 0.81} | {
    "permuted_maps": 0.6,
    "constant_map": 0.805,
}
WIDE = {"concat": 0.03, "esr": 0.03, "constant_map": 0.03}
"""Half widths of intervals other than 0.01, so that differences have some too."""
SCORED = {
    name: make_scored({"a": 1 - auroc}, {"a": auroc, "b": auroc}, WIDE.get(name, 0.01))
    for name, auroc in AUROCS.items()
}


def test_each_is_compared_with_the_image_alone_and_both_with_each() -> None:
    differences = compare_detectors(SCORED)
    assert differences["esr", "image_only"][MEAN]["mean"] == pytest.approx(0.1)
    assert differences["full", "permuted_maps"]["b"]["mean"] == pytest.approx(0.21)
    assert {one for one, other in differences if other == "image_only"} == set(TITLES) - {"image_only"}
    assert {other for one, other in differences if one == "full"} == set(TITLES) - {"full"}


NUMBERS = as_json(egre.numbers(SCORED))


def test_what_the_map_adds_is_told_against_the_controls_alone() -> None:
    text, head = finding(NUMBERS), headline(NUMBERS)
    line_with(text, "ESR + ECR against image + ESR + ECR, trained on permuted maps", Verdict.BETTER, "+0.210")
    line_with(text, "ESR + ECR against image + ESR + ECR, trained on one constant map", Verdict.SAME, "+0.005")
    assert "image only" not in text and "the image alone" not in head
    assert Verdict.BETTER in head and "permuted maps" in head and "one constant map" in head
    better = line_with(text, "against image + ECR:", Verdict.BETTER, "+0.160")
    same = line_with(text, "against image + ESR:", Verdict.SAME, "+0.010")
    assert text.index(same) < text.index(better)
    assert choose(NUMBERS) == "map_only"
    line_with(text, "map only:", "0.60 (0.59 to 0.61) ±0.000")


def test_controls_with_one_verdict_share_a_clause_of_the_headline() -> None:
    same = SCORED | {"permuted_maps": SCORED["constant_map"]}
    head = headline(as_json(egre.numbers(same)))
    assert head.count("not significantly different") == head.count("the same trained on") == 1
    assert head.endswith("trained on permuted maps or one constant map.") and len(head.split()) <= 30


def test_answers_without_controls_do_not_say_what_the_map_adds() -> None:
    older = as_json(NUMBERS)
    for control in CONTROLS:
        for split in SPLITS:
            del older["readings"][split][TITLES[control]]
        older["differences"] = {n: each for n, each in older["differences"].items() if TITLES[control] not in n}
    assert "not known" in headline(older) and "not known" in finding(older).splitlines()[0]
    assert [row[0] for row in next(tables(older)).rows] == [t for n, t in TITLES.items() if n not in CONTROLS]


def test_few_seeds_give_no_verdict() -> None:
    few = {n: make_scored({"a": 0.5}, {"a": a}, num_seeds=2) for n, a in AUROCS.items()}
    text = finding(as_json(egre.numbers(few)))
    assert all(Verdict.FEW_SEEDS in line for line in text.splitlines() if " against " in line)


def test_tables_have_a_row_a_detector_and_a_column_a_source() -> None:
    found = list(tables(NUMBERS))
    assert all(len(row) == len(table.columns) for table in found for row in table.rows)
    means, auroc, _, against_image, against_full = found
    assert [row[0] for row in means.rows] == list(TITLES.values()) and "images of a." in means.note
    assert auroc.columns[1:] == (MEAN, "a", "b")
    assert len(against_image.rows) == len(against_full.rows) == len(TITLES) - 1
    assert against_image.rows[0][1].startswith("−0.100") and against_full.rows[-2][1].startswith("+0.210")


@pytest.mark.slow
def test_detectors_are_trained_as_they_are_named(study: Study) -> None:
    overrides = (*study.config.fit_overrides, "--trainer.log_every_n_steps=1")  # an epoch has few batches
    study = Study(replace(study.config, fit_overrides=overrides))
    found = answer(study)
    assert Answer.load(study.write(found)).tables == found.tables and TELLING.retell(found) == found
    runs = {folder.name for folder in (study.config.out / "detectors").iterdir()}
    assert runs == {f"{name}-t200-e2" for name in set(DETECTORS) - {"image_only"}} | {"image_only"}
    for name, setting in {"permuted_maps": "permute_maps", "constant_map": "constant_map"}.items():
        folder = study.config.out / "detectors" / f"{name}-t200-e2" / "seed-0"
        assert yaml.safe_load((folder / "config.yaml").read_text())["data"][setting] is True
    for name, parts in {
        "concat": (False, False, True),
        "esr": (True, False, False),
        "ecr": (False, True, False),
    }.items():
        config = study.config.out / "detectors" / f"{name}-t200-e2" / "seed-0" / "config.yaml"
        model = yaml.safe_load(config.read_text())["model"]
        assert (model["spatial"], model["channel"], model["concat"]) == parts
    assert set(found.numbers["readings"]) == set(SPLITS)
    assert set(found.numbers["readings"]["test"]) == set(TITLES.values())
