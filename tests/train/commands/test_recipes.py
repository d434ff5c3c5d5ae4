"""Named recipes of ablations, and what is said where settings of data, detector and maps do not fit each other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.train.commands.conftest import Strange
from tests.train.commands.test_lightning import CONFIGS
from workflow.cli.flags import packaged_configs

pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.* is deprecated"),
]
TABLE = re.findall(r"^\| `(lare2_\w+)` \|[^|]*\| `(.*)` \|$", Path("docs/training.md").read_text(), re.M)


def flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    found = {}
    for name, value in settings.items():
        inner = flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
        found |= inner
    return found


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("lare2*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_takes_one_device_unless_more_are_asked_for(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["trainer"]["devices"] == 1


def test_the_table_has_all_recipes_of_ablations() -> None:
    assert len(TABLE) == 5
    assert {name for name, _ in TABLE} <= packaged_configs().keys()


@pytest.mark.parametrize(("name", "flags"), TABLE)
def test_a_recipe_differs_from_ours_in_the_settings_that_the_table_names(name: str, flags: str) -> None:
    ours, other = (flat(yaml.safe_load((CONFIGS / f"{each}.yaml").read_text())) for each in ("lare2", name))
    named = dict(flag.removeprefix("--").split("=") for flag in flags.split())
    assert other == ours | {setting: json.loads(value) for setting, value in named.items()} != ours
    assert f"train/configs/{name}.yaml" in (CONFIGS / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", ["lare2", "lare2_paper", *(name for name, _ in TABLE)])
def test_a_recipes_progress_bar_asks_for_the_loss_rarely(name: str) -> None:
    callbacks = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["trainer"]["callbacks"]
    (bar,) = [each for each in callbacks if each["class_path"].endswith("TQDMProgressBar")]
    assert bar["init_args"]["refresh_rate"] >= 20


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, _ in TABLE])
def test_a_recipe_is_trained_and_scored(strange: Strange, name: str) -> None:
    own = yaml.safe_load(strange.own.read_text())
    del own["model"]["image"]
    (strange.folder / "own.yaml").write_text(yaml.safe_dump(own))
    out = strange.folder / name
    settings = ("-c", CONFIGS / f"{name}.yaml", "-c", strange.folder / "own.yaml", "--out", out)
    assert strange.run("fit", *settings) == 0
    data = [place.replace("--", "--data.", 1) for place in strange.data]
    ckpt = f"--ckpt_path={out / 'checkpoints' / 'best.ckpt'}"
    assert strange.run("predict", ckpt, *data, "--trainer.accelerator=cpu", "--data.num_workers=0", "--out", out) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--data.maps=false", "--config lare2_image_only, or --model.spatial=false --model.channel=false too"),
        ("--data.images=false --model.image=true", "--config lare2_map_only, or --model.image=false too"),
        (
            "--data.crop_px=11 --model.image=true",
            "image_size is 11, resnet_tiny_clip needs a multiple of 8 (data.crop_px); crop_px is 11: expected",
        ),
        ("--data.crop_px=12 --model.image=true", "needs a multiple of 8 (data.crop_px)\n"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_one_sentence_with_the_flag(
    strange: Strange, flags: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = ("fit", "-c", CONFIGS / "lare2.yaml", "-c", strange.own, "--out", strange.folder / "new", *flags.split())
    assert strange.run(*fit) == 1
    error = capsys.readouterr().err
    assert message in error and error.splitlines()[-1].startswith("error: ") and "Traceback" not in error
