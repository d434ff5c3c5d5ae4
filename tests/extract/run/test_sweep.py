"""Several timesteps and ensemble sizes in one pass over the images."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache_schema import Dataset, Status, open_cache, write_dataset
from extract.models.stable_diffusion import StableDiffusion
from extract.run.methods import Inputs, LareMaps
from tests.extract.conftest import Run, assert_same_maps, make_images, pack, read_maps
from tests.samples import make_sample

SWEEP = {"timesteps": "[100,200,300,400,500]", "ensemble_sizes": "[1,2,4,8]"}
NAMES = sorted(f"t{t}-e{e}" for t in (100, 200, 300, 400, 500) for e in (1, 2, 4, 8))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many images, draws or texts each part of the model has seen, without the fill of short batches."""
    counts: Counter[str] = Counter()
    load = StableDiffusion.__init__

    def load_and_count(self: StableDiffusion, *args: Any, **settings: Any) -> None:
        load(self, *args, **settings)
        self.network.register_forward_pre_hook(lambda _, args: counts.update(unet=len(args[0])))
        self.vae.encoder.register_forward_pre_hook(lambda _, args: counts.update(vae=len(args[0])))

    encode = StableDiffusion.encode_text

    def encode_and_count(self: StableDiffusion, text: Any, tokenizer: Any, encoder: Any, prompt: str) -> Any:
        counts[f"text {prompt!r}"] += 1
        return encode(self, text, tokenizer, encoder, prompt)

    monkeypatch.setattr(StableDiffusion, "__init__", load_and_count)
    monkeypatch.setattr(StableDiffusion, "encode_text", encode_and_count)
    return counts


def test_a_sweep_calls_each_model_as_often_as_it_must(run: Run, tmp_path: Path, calls: Counter[str]) -> None:
    names = ["rose", "tench", "rose", "tench", "rose", "tench"]
    samples = [make_sample(i, image=im, class_name=names[i]) for i, im in enumerate(make_images(6))]
    write_dataset(tmp_path / "data", samples, {})
    template = {"prompt_policy": "template", "prompt": "a photo of a {class_name}"}
    assert run(**SWEEP, **template, allow_label_dependent_prompts="true", batch_size=3) == 0
    assert calls == {"vae": 6, "unet": 6 * 5 * 8, "text 'a photo of a rose'": 1, "text 'a photo of a tench'": 1}
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == NAMES


def test_each_variant_equals_a_run_of_its_own(packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run(timesteps="[100,300]", ensemble_sizes="[2,4,8]") == 0
    for timestep, size in ((100, 4), (300, 8), (300, 2)):
        alone = tmp_path / f"alone-{timestep}-{size}"
        assert run(cache=alone, timestep=timestep, ensemble_size=size) == 0
        swept = tmp_path / "cache" / f"t{timestep}-e{size}"
        assert_same_maps(read_maps(alone), read_maps(swept))
        assert open_cache(alone).fingerprint == open_cache(swept).fingerprint


def test_a_missing_variant_is_computed_and_the_others_stay(
    packed: Dataset, run: Run, tmp_path: Path, calls: Counter[str]
) -> None:
    assert run(timesteps="[100]", ensemble_sizes="[1,4]") == 0
    (tmp_path / "cache" / "t100-e4" / "train-000001.zarr.zip").unlink()
    before = {p: p.stat().st_ino for p in (tmp_path / "cache").rglob("*.zip")}
    calls.clear()
    assert run(timesteps="[100,200]", ensemble_sizes="[1,4]") == 0
    after = {p: p.stat().st_ino for p in (tmp_path / "cache").rglob("*.zip")}
    assert before.items() <= after.items() and len(after) == 8
    # Tar 0 has five rows in batches of four, tar 1 two: t = 200 for both, t = 100 for the second alone.
    assert calls["unet"] == (8 + 4) * 4 + 4 * 4


def test_a_variant_that_fails_does_not_change_the_others(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(tmp_path / "data", [0, 1, 2])
    assert run(cache=tmp_path / "fp32", timesteps="[100,200]", ensemble_sizes="[2]") == 0
    assert run(cache=tmp_path / "bf16", timesteps="[100,200]", ensemble_sizes="[2]", compute_dtype="bf16") == 0
    compute = LareMaps.compute_maps

    def break_one(self: LareMaps, model: StableDiffusion, inputs: Inputs, variants: Any) -> torch.Tensor:
        maps = compute(self, model, inputs, variants).clone()
        if model.compute_dtype == "bf16":
            maps[1, 2] = torch.inf
        return maps

    monkeypatch.setattr(LareMaps, "compute_maps", break_one)
    assert run(timesteps="[100,200]", ensemble_sizes="[2]", compute_dtype="bf16") == 0
    one, two = (open_cache(tmp_path / "cache" / n).read("train-000000.zarr.zip") for n in ("t100-e2", "t200-e2"))
    assert one.status.tolist() == [0, 0, 0] and two.status.tolist() == [0, 0, Status.OK_AFTER_FP32]
    bf16 = {n: read_maps(tmp_path / "bf16" / n) for n in ("t100-e2", "t200-e2")}
    key = two.keys[2]
    assert np.array_equal(one.lare[2], bf16["t100-e2"][key])
    assert_same_maps({key: read_maps(tmp_path / "fp32" / "t200-e2")[key]}, {key: two.lare[2]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timesteps": "[]"}, "timesteps is []: expected different values of 0 or more"),
        ({"timesteps": "[100,100]"}, "timesteps is [100, 100]"),
        ({"timesteps": "[100,1000]"}, "timestep is 1000: the model has 0 … 999"),
        ({"ensemble_sizes": "[0,1]"}, "ensemble_sizes is [0, 1]: expected different values of 1 or more"),
    ],
)
def test_wrong_sweeps_end_as_a_usage_error(
    settings: dict[str, str], message: str, packed: Dataset, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(**settings)
    assert message in capsys.readouterr().err
