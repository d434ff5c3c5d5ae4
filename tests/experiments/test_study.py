from dataclasses import replace
from pathlib import Path

from experiments.study import Study


def test_command_names_the_folders_that_were_given(study: Study, tmp_path: Path) -> None:
    given = Study(replace(study.config, preset="toy-full", photos=tmp_path))
    assert given.command("formats", "photos", "raw") == (
        "python -m experiments formats --config experiments/configs/toy-full.yaml --photos FOLDER"
    )
    assert given.command("timestep") == "python -m experiments timestep --config experiments/configs/toy-full.yaml"
