"""A dry run needs the model's configurations alone: weights may be on the nodes, or still to be fetched."""

import shutil
from pathlib import Path

import pytest

from cache_schema import Dataset
from extract.__main__ import main
from extract.models.folder import ModelFolder
from extract.models.weights import MissingFile
from tests.extract.conftest import Run
from tests.extract.engines.test_launch import Arguments, as_flags, settings  # noqa: F401


@pytest.fixture
def configurations(models: dict[str, Path], tmp_path: Path) -> Path:
    """The tiny model without weights and tokenizer."""
    ignore = shutil.ignore_patterns("*.safetensors", "tokenizer")
    return Path(shutil.copytree(models["sd"], tmp_path / "configurations", ignore=ignore))


def plan(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if line.startswith("7 images in") or "tasks, at most" in line]


def test_a_dry_run_without_weights_plans_the_same_and_makes_no_cache(
    packed: Dataset,
    settings: Arguments,  # noqa: F811
    configurations: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    launch = settings(tars_per_task=1, dry_run="true", model=configurations)
    assert main(["launch", *as_flags(launch)]) == 0
    without = plan(caplog)
    assert "weights: unet " in caplog.text and "text_encoder " in caplog.text
    assert "GB of the device's memory in fp32, and of the host's while they are loaded" in caplog.text
    told = [line for line in caplog.messages if "GMAC an image, about" in line]
    assert [line.split()[0] for line in told] == ["64", "256", "512", "1024"]
    assert all(line.endswith("GB of memory for 4 images at a time in fp32") for line in told), told
    assert len(without) == 2 and "planned without the model's weights, which a launch needs" in caplog.text
    assert "diffusion_pytorch_model.safetensors" in caplog.text and not (tmp_path / "cache").exists()
    caplog.clear()
    assert main(["launch", *as_flags(settings(tars_per_task=1, dry_run="true"))]) == 0
    assert plan(caplog) == without and "planned without" not in caplog.text
    with pytest.raises(SystemExit):  # a launch itself
        main(["launch", *as_flags({**launch, "dry_run": "false"})])
    assert "holds no diffusion_pytorch_model.safetensors" in capsys.readouterr().err


def test_what_is_there_is_known_without_weights_too(
    packed: Dataset,
    settings: Arguments,  # noqa: F811
    configurations: Path,
    run: Run,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(shard=0) == 0
    caplog.set_level("INFO")
    assert main(["launch", *as_flags(settings(dry_run="true", model=configurations))]) == 0
    assert "2 images in 1 tars (1 stores are there)" in caplog.text
    assert main(["launch", *as_flags(settings(dry_run="true", model=configurations, timestep=100))]) == 1
    assert "was made with other settings (cache ≠ this run): timestep: 200 ≠ 100" in capsys.readouterr().err


def test_configurations_alone_are_no_model(configurations: Path) -> None:
    with pytest.raises(MissingFile):
        ModelFolder.open(str(configurations))
    folder = ModelFolder.open(str(configurations), with_weights=False)
    assert folder.latent_shape(64) == (4, 8, 8) and not any(part.weights for part in folder.parts.values())
    shutil.rmtree(configurations / "vae")
    with pytest.raises(MissingFile):
        ModelFolder.open(str(configurations), with_weights=False)
