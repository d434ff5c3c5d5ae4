"""What a study's commands are about to do: told, listed, and done in parts by tasks that share the study."""

import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from cache_schema import write_dataset
from experiments import caches
from experiments.answers.readings import SPLITS
from experiments.questions import FROM_CACHES, QUESTIONS, load_work
from experiments.study import study as study_module
from experiments.study.config import StudyConfig, StudyTask
from experiments.study.fits import Fit, Work, list_fits
from experiments.study.study import Study
from experiments.tasks import begin
from tests.experiments.made_up import list_fitted, list_planned
from tests.models import save_tiny_sd
from tests.samples import make_sample
from train.runs import format_time
from workflow.cli.flags import translate
from workflow.cli.verbs import VERBS
from workflow.code_hash import ROOT


def task_of(study: Study, **changes: Any) -> StudyTask:
    settings = {name: getattr(study.config, name) for name in asdict(study.config)}
    return StudyTask(**settings | changes)


def ablation(study: Study) -> Work:
    return Work.unite(load_work(name)(study) for name in FROM_CACHES)


def list_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_every_question_tells_what_it_trains(study: Study) -> None:
    works = {name: load_work(name)(study) for name in QUESTIONS}
    assert list_planned(works["egre"]) >= {"full-t200-e2", "image_only", "esr-t200-e2", "constant_map-t200-e2"}
    assert list_planned(works["views"]) == {f"full{view}-t200-e2" for view in ("", "-native-whole", "-native-crop")}
    assert list_planned(works["precision"]) == {
        f"map_only-t200-e2{more}" for more in ("", "-float16-m10", "-float16-m4", "-bf16")
    }
    assert list_planned(load_work("timestep")(Study(replace(study.config, sweep_variants=("map_only",))))) == {
        "map_only-t50-e2",
        "map_only-t200-e2",
    }
    assert works["frequency"] == Work() and not works["verdicts"].fits
    assert {name for name, work in works.items() if work.is_first} == {"reconstruction", "formats", "cheap"}
    both = Work.unite([Work((Fit("a", "x"), Fit("b", "x"))), Work((Fit("b", "x"), Fit("c", "x")))])
    assert [fit.run for fit in both.fits] == ["a", "b", "c"]


def test_a_dry_run_lists_the_runs_and_makes_nothing(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before = list_files(tmp_path)
    work = Work((Fit("full-x", "x"), Fit("map_only-t200-e2", "t200-e2", "map_only")))
    two = Study(replace(study.config, num_seeds=2, num_epochs=5))
    assert not begin(two, "ablate", work, task_of(two, dry_run=True, images_per_second=10))
    assert capsys.readouterr().out == (
        "0  to do  full-x, seed 0\n1  to do  full-x, seed 1\n"
        "2  to do  map_only-t200-e2, seed 0\n3  to do  map_only-t200-e2, seed 1\n"
    )
    (run, *_) = (run for _, _, run in list_fits(two, work))
    images = 4 * 5 * run.num_images
    assert f"ablate: 2 detectors × 2 seeds; 4 fits of 5 epochs, 0 done; {images:,} training images" in caplog.text
    assert f"{format_time(images / 10 / 3600)}, at 10 images/s a fit (as given)" in caplog.text
    assert not begin(two, "ablate", work, task_of(two, dry_run=True))
    assert "No fit is timed here yet, so that hours are unknown" in caplog.text
    assert list_files(tmp_path) == before


def test_what_trains_on_what_it_makes_is_one_task(study: Study) -> None:
    work = Work((Fit("full-x", "x"),), "3 packings", is_first=True)
    with pytest.raises(ValueError, match=r"only: formats trains on what it makes first \(3 packings\): run it as one"):
        begin(study, "formats", work, task_of(study, only="0"))
    with pytest.raises(ValueError, match="only names run 1: there are 1 runs, 0 … 0"):
        begin(study, "formats", work, task_of(study, only="1"))
    with pytest.raises(ValueError, match="images_per_second is 0: expected more than 0"):
        task_of(study, images_per_second=0)


@pytest.mark.slow
def test_tasks_train_their_numbers_and_the_command_trains_none_of_them_again(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work((Fit("map_only-t200-e2", "t200-e2", "map_only"), Fit("map_only-t50-e2", "t50-e2", "map_only")))
    two = Study(replace(study.config, num_seeds=2))
    assert not begin(two, "ablate", work, task_of(two, only="1,2"))
    done = [run.title for _, _, run in list_fits(two, work) if run.is_done]
    assert done == ["map_only-t200-e2, seed 1", "map_only-t50-e2, seed 0"]
    predictions = [two.run_folder("map_only-t50-e2", 0) / "predictions" / f"{split}.parquet" for split in SPLITS]
    assert all(path.is_file() for path in predictions)
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(study_module, "run_module", lambda module, *words, **how: started.append(words))
    begin(two, "ablate", work, task_of(two, only="1-2"))
    assert started == [] and begin(two, "ablate", work, task_of(two))
    assert list_fitted(two) == {"map_only-t200-e2", "map_only-t50-e2"}


def test_passes_of_stage_1_are_listed_with_their_cost_and_as_tasks_of_a_cluster(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = replace(study.config, model=str(save_tiny_sd(tmp_path / "model")), caches=tmp_path / "new")
    new = Study(config)
    before = list_files(tmp_path)
    caches.run_task(new, task_of(new, dry_run=True, images_per_second=2))
    lines = capsys.readouterr().out.splitlines()
    titles = [each.title for each in caches.plan(config)]
    assert lines[::2] == [f"{n}  to do  {title}" for n, title in enumerate(titles)] and len(titles) == 3
    assert "2 UNet calls" in caplog.text and "12 seconds at 2.0 images/s (as given)" in caplog.text
    for line in lines[1::2]:
        words = shlex.split(line.partition("as tasks: ")[2])
        assert words[:2] == ["lare", "launch"]
        assert f"--model={config.model}" in translate(VERBS["launch"], words[2:])
    caches.run_task(new, task_of(new, dry_run=True, only="2"))
    assert caplog.text.count("bfloat16 models at t = 200") == 2  # and the two others once
    assert caplog.text.count("timesteps [50] at e = 2") == 1
    assert list_files(tmp_path) == before


def test_caches_of_bfloat16_models_alone_are_two_passes(study: Study) -> None:
    config = replace(study.config, compute_dtype="bf16")
    passes = caches.plan(config)
    assert len(passes) == 2 and all("--compute_dtype=bf16" in each.arguments for each in passes)
    names = list_planned(load_work("precision")(Study(config)))
    assert names == {f"map_only-t200-e2{more}" for more in ("", "-float16-m10", "-float16-m4")}


def test_the_preset_for_genimage_costs_what_the_documentation_says(tmp_path: Path) -> None:
    samples = [make_sample(n, size_px=16 + n % 3) for n in range(6)]  # of several sizes, as GenImage's
    data = write_dataset(tmp_path / "data", samples, {}).folder
    study = Study(replace(StudyConfig.load(ROOT / "experiments" / "configs" / "genimage.yaml"), data=data))
    config, page = study.config, (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    num_fits = len(ablation(study).fits)
    assert f"{num_fits} detectors × {config.num_seeds} seeds × {config.num_epochs} epochs" in page
    last = num_fits * config.num_seeds - 1
    assert f"--array=0-{last}%8 docs/fits.sbatch question" in (ROOT / "docs" / "CLUSTER.md").read_text(encoding="utf-8")
    for each in caches.plan(config):
        assert f"× {each.num_unet_calls} UNet calls" in page and "--compute_dtype=bf16" in each.arguments
