import threading
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import study as study_module
from experiments.study import Study


def test_command_names_the_folders_that_were_given(study: Study, tmp_path: Path) -> None:
    given = Study(replace(study.config, preset="toy-full", photos=tmp_path))
    assert given.command("formats", "photos", "raw") == (
        "python -m experiments formats --config experiments/configs/toy-full.yaml --photos FOLDER"
    )
    assert given.command("timestep") == "python -m experiments timestep --config experiments/configs/toy-full.yaml"


def test_seeds_are_trained_as_many_at_once_as_asked_and_share_the_cores(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet, shares = threading.Barrier(2), []

    def wait_for_the_other(module: str, verb: str, *arguments: str | Path, share: int) -> None:
        meet.wait(timeout=60)  # only where another one is at work
        shares.append(share)
        folder = next(str(each) for each in arguments if str(each).startswith("--out="))
        Path(folder.removeprefix("--out=")).mkdir(parents=True)

    monkeypatch.setattr(study_module, "run_module", wait_for_the_other)
    two = Study(replace(study.config, num_seeds=4, num_jobs=2))
    folders = two.fit("full", two.cache(two.default_cache))
    assert [folder.name for folder in folders] == ["seed-0", "seed-1", "seed-2", "seed-3"]
    assert all(folder.is_dir() for folder in folders)
    assert shares == [2] * 4
