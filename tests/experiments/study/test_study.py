import json
import shlex
import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from experiments.study import stage_1
from experiments.study import study as study_module
from experiments.study.config import StudyConfig
from experiments.study.study import Study
from tests.experiments.made_up import run_here
from train.runs import TIME_NAME
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


@pytest.mark.parametrize("preset", ["../x", "/etc/x", "..", "", "a/b", ".hidden", "a\nb"])
def test_a_preset_is_a_name_and_no_path(study: Study, preset: str) -> None:
    with pytest.raises(ValueError, match=r"preset is .*: expected a name of letters"):
        replace(study.config, preset=preset)


def test_a_datasets_identity_leads_no_cache_out_of_its_folder(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = tmp_path / "stranger"
    shutil.copytree(study.config.data, stranger)
    content = json.loads((stranger / "dataset.json").read_text())
    (stranger / "dataset.json").write_text(json.dumps(content | {"dataset_id": "/../../../x"}))
    made: list[Path] = []
    monkeypatch.setattr(stage_1, "make_cache", lambda study, name, *_, **__: made.append(study.config.caches / name))
    monkeypatch.setattr(Study, "settings_of", lambda self, cache: ())
    stage_1.make_cache_like(study, "degraded", study.cache(study.default_cache), stranger)
    assert [path.resolve().parent for path in made] == [study.config.caches.resolve()]


def test_a_fit_that_was_cut_short_goes_on_from_its_last_checkpoint(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, commands = study.run_folder("full", 0), list[tuple[str, ...]]()
    last = folder / "checkpoints" / "last.ckpt"

    def cut_short(module: str, *command: str, share: int, epochs: int) -> None:
        commands.append(command)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        if epochs:
            last.parent.mkdir(exist_ok=True)
            last.touch()
        if epochs < 2:
            raise RuntimeError("killed")

    for epochs in (0, 1):
        monkeypatch.setattr(study_module, "run_module", partial(cut_short, epochs=epochs))
        with pytest.raises(RuntimeError, match="killed"):
            study.fit("full", study.cache(study.default_cache))
        assert not study.is_fitted("full", study.cache(study.default_cache), 0, "full", (), None)
    monkeypatch.setattr(study_module, "run_module", partial(cut_short, epochs=2))
    study.fit("full", study.cache(study.default_cache))
    assert [f"--ckpt_path={last}" in command for command in commands] == [False, False, True]
    assert commands[2][:-1] == commands[0] and not (folder / TIME_NAME).exists()
    changed = Study(replace(study.config, num_epochs=7))
    changed.fit("full", changed.cache(changed.default_cache))
    assert not any(word.startswith("--ckpt_path") for word in commands[3])  # that checkpoint is of another fit


@pytest.mark.slow
def test_a_fit_that_goes_on_equals_one_without_a_stop(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = (*study.config.fit_overrides, "--model.schedule=constant")  # which a stop by max_epochs does not change
    config = replace(study.config, num_epochs=2, fit_overrides=overrides, out=tmp_path / "stopped")
    stopped, whole = Study(config), Study(replace(config, out=tmp_path / "whole"))

    def stop(*words: str, **how: int) -> None:
        run_here(*words, "--trainer.max_epochs=1")
        raise RuntimeError("killed")

    monkeypatch.setattr(study_module, "run_module", lambda *words, **how: stop(*words))
    with pytest.raises(RuntimeError, match="killed"):
        stopped.fit("full", stopped.cache(stopped.default_cache))
    monkeypatch.setattr(study_module, "run_module", run_here)
    weights = []
    for each in (stopped, whole):
        (folder,) = each.fit("full", each.cache(each.default_cache))
        weights.append(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True))
    assert weights[0]["epoch"] == weights[1]["epoch"] and weights[0]["global_step"] == weights[1]["global_step"]
    states = [each["state_dict"] for each in weights]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
