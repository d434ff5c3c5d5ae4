import json
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline

from demo.__main__ import main
from demo.run import DemoConfig
from demo.toy.photos import TABLE
from train.scoring.titles import TITLES
from workflow.stages import run_module


@pytest.fixture(scope="module")
def model_folder(pipeline: StableDiffusionPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model")
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def few_photos(tmp_path: Path) -> Path:
    """A table of four scenes, which the seeded hash deals to all three roles."""
    header, *rows = TABLE.read_text().splitlines()
    wanted = ("road", "rocks", "roof", "coffee")
    table = tmp_path / "photos.csv"
    table.write_text("\n".join([header, *(row for row in rows if row.split(",")[2] in wanted)]) + "\n")
    return table


def test_model_that_is_not_there_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no model_index.json"):
        DemoConfig(model=tmp_path)
    with pytest.raises(ValueError, match=r"model_b is .*, which holds no model_index.json"):
        DemoConfig(model_b=tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["run", f"--model={tmp_path}", f"--out={tmp_path / 'out'}"])
    assert ended.value.code == 2
    assert not (tmp_path / "out").exists()


def test_failing_command_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="python -m cache_schema status ended with status"):
        run_module("cache_schema", "status", "--data", tmp_path, "--cache", tmp_path)


@pytest.mark.slow
def test_demo_runs_from_photographs_to_report_and_again(
    model_folder: Path, few_photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    models = [f"--model={model_folder}", f"--model_b={model_folder}"]
    arguments = ["run", *models, f"--photos={few_photos}", f"--out={out}", "--sources.num_steps=2"]
    arguments.append('--overrides=["--trainer.max_epochs=1", "--trainer.accelerator=cpu"]')
    assert main(arguments) == 0
    results = json.loads((out / "results.json").read_text())
    assert list(results["readings"]) == list(TITLES)
    for reading in results["readings"].values():
        assert list(reading["sources"]) == ["toy-a", "toy-a-img2img", "toy-b", "toy-b-img2img"]
        assert list(reading["controls"]) == ["blurred-real", "vae-roundtrip-a", "vae-roundtrip-b"]
    assert 'id="gallery"' in (out / "report.html").read_text()
    assert "full_maps_permuted" in capfd.readouterr().out
    weights = (out / "detectors" / "full" / "checkpoints" / "best.ckpt").stat()
    assert main(arguments) == 0
    assert (out / "detectors" / "full" / "checkpoints" / "best.ckpt").stat() == weights
    assert json.loads((out / "results.json").read_text())["readings"] == results["readings"]
