import shlex
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.study import study as study_module
from experiments.study.config import StudyConfig
from experiments.study.study import Study
from workflow.code_hash import ROOT
from workflow.command import Command, run_command


def test_command_names_what_differs_from_the_preset_but_no_place_of_this_machine(tmp_path: Path) -> None:
    preset = StudyConfig.load(ROOT / "experiments" / "configs" / "toy-full.yaml")
    common = "--config experiments/configs/toy-full.yaml"
    assert (preset.num_seeds, preset.arguments) == (5, common)
    assert replace(preset, data=tmp_path, caches=tmp_path, out=tmp_path).arguments == common
    changed = replace(preset, num_seeds=3, photos=tmp_path, timesteps=(50, 200), fit_overrides=("--a=b c",))
    command = Study(replace(changed, out=tmp_path)).command("formats")
    assert command == (
        f"python -m experiments formats {common} --num_seeds 3 --timesteps '[50, 200]' "
        """--fit_overrides '["--a=b c"]' --photos FOLDER"""
    )
    parsed: list[StudyConfig] = []
    commands = {"formats": lambda: Command(StudyConfig, parsed.append, None)}
    assert run_command("test", commands, shlex.split(command)[3:]) == 0
    assert parsed == [replace(changed, photos=Path("FOLDER"))]
    assert replace(preset, preset="my own").arguments == "--config FILE"


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
