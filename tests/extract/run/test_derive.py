"""A variant derived from float32 maps is what an extraction with its settings gives, to the bit."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_schema import Dataset, Status, open_cache, write_dataset
from cache_schema.__main__ import main
from extract.run.methods import LareMaps
from tests.extract.conftest import Run, make_images
from tests.samples import make_sample


def arrays_in(path: Path) -> dict[str, bytes]:
    """Everything in a store but its attributes, byte for byte."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "zarr.json"}


@pytest.fixture
def with_bad_image(tmp_path: Path) -> Dataset:
    """Five pictures, the third of them cut short, in tars of three and two rows."""
    images = make_images(5)
    images[2] = images[2][:200]
    samples = [make_sample(i, image=image) for i, image in enumerate(images)]
    return write_dataset(tmp_path / "data", samples, {"made_by": "a test"}, max_rows=3)


@pytest.mark.parametrize(("dtype", "bits"), [("float16", None), ("float16", 7)])
def test_derived_equals_extracted(
    with_bad_image: Dataset,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    bits: int | None,
) -> None:
    compute_maps = LareMaps.compute_maps

    def with_one_large_value(self: LareMaps, *args: Any) -> Any:
        maps = compute_maps(self, *args).clone()
        maps[..., 1, 0, 0, 0] = 1e5  # row 1 of each tar does not fit float16
        return maps

    monkeypatch.setattr(LareMaps, "compute_maps", with_one_large_value)
    assert run(cache=tmp_path / "full", stored_dtype="float32") in (0, 3)
    options = [] if bits is None else [f"--mantissa-bits={bits}"]
    out = tmp_path / "derived"
    derive = ["derive", f"--cache={tmp_path / 'full'}", f"--out={out}", f"--stored-dtype={dtype}", "--num_workers=1"]
    assert main([*derive, *options]) == 0

    settings: dict[str, Any] = (
        {"stored_dtype": dtype} if bits is None else {"stored_dtype": dtype, "mantissa_bits": bits}
    )
    assert run(cache=tmp_path / "direct", **settings) in (0, 3)
    direct, derived = open_cache(tmp_path / "direct"), open_cache(out)
    assert derived.fingerprint == direct.fingerprint and derived.shards() == direct.shards()
    for name in direct.shards():
        assert arrays_in(derived.path(name)) == arrays_in(direct.path(name))
        for attribute in ("tar", "rows_sha256", "reasons", "counts"):
            assert derived.attributes(name)[attribute] == direct.attributes(name)[attribute]
    first = derived.read("train-000000.zarr.zip")
    assert first.status.tolist() == [Status.OK, Status.NON_FINITE, Status.UNREADABLE]
    assert np.isfinite(first.lare[0]).all() and np.isnan(first.lare[1:]).all()
    # An extraction goes on in the derived folder: to it, these stores are done.
    assert run(cache=out, **settings) == 0
