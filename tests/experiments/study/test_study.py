import json
import shlex
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.study import stage_1
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
