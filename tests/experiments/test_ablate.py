import json
import shutil
from pathlib import Path

import pytest

from experiments import ablate
from experiments.ablate import as_markdown, list_rows, run
from experiments.answers.answer import Answer
from experiments.caches import derive
from experiments.questions import FROM_CACHES, load_work
from experiments.study.fits import Work, find_study_rate, list_fits
from experiments.study.settings import summarize
from experiments.study.study import Study
from tests.experiments.made_up import list_fitted, list_planned, make_scored
from tests.test_imports import loaded_after


@pytest.mark.slow
def test_no_diffusion_model_is_loaded() -> None:
    code = (
        "import experiments.ablate; from experiments.questions import FROM_CACHES, load_question; "
        "[load_question(name) for name in FROM_CACHES]"
    )
    assert loaded_after(code, "diffusers", "extract") == set()


def test_table_has_a_row_for_each_setting() -> None:
    numbers = {"readings": summarize({"map only, e = 1": make_scored({"a": 0.6}, {"a": 0.7, "b": 0.9})})}
    rows = list_rows(Answer("ensemble", "?", "", "", "", "", {}, numbers=numbers))
    assert [(row["question"], row["setting"]) for row in rows] == [("ensemble", "map only, e = 1")]
    assert rows[0]["validation"]["auroc"]["mean"] == 0.6 and rows[0]["test"]["average_precision"]["mean"] == 0.8
    settings = {"preset": "toy-x", "num_seeds": 2, "num_epochs": 3, "git_commit": None, "git_dirty": True}
    text = as_markdown({"settings": settings, "rows": rows}, "python -m experiments ablate")
    assert "| ensemble | map only, e = 1 | 0.600 ±0.000 | 0.600 ±0.000 | 0.800 ±0.000 | 0.800 ±0.000 |" in text
    assert "Preset toy-x: 2 seeds, 3 epochs." in text and "Commit unknown with changes." in text


@pytest.mark.slow
def test_ablation_is_made_once(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    derive(study)
    run(study)
    out: Path = study.config.out
    table = (out / "ablation.md").read_text()
    assert table in capsys.readouterr().out
    ablation = json.loads((out / "ablation.json").read_text())
    assert {row["question"] for row in ablation["rows"]} == set(FROM_CACHES)
    work = Work.unite(load_work(name)(study) for name in FROM_CACHES)
    assert list_fitted(study) == list_planned(work)
    assert all(run.is_done for _, _, run in list_fits(study, work))
    assert find_study_rate(study, None).source == f"the mean of {len(work.fits)} finished fits"
    settings = {row["setting"] for row in ablation["rows"] if row["question"] == "precision"}
    assert "detector, map only, float16, 4 bits" in settings and len(settings) == 2 * 4
    assert {file.stem for file in (out / "answers").iterdir()} == set(FROM_CACHES)
    monkeypatch.setattr(ablate, "load_question", None)  # nothing is answered anew
    shutil.copytree(study.cache(study.default_cache), study.config.caches / "of-another-question")
    run(study)
    again = capsys.readouterr().out
    assert again.startswith("Nothing has changed since") and again.endswith(table)
