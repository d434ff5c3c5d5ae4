"""AVIF from packing to training: its rule is named in the fingerprint, and caches without AVIF keep theirs."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import AvifImagePlugin, Image

from cache_schema import (
    Dataset,
    FingerprintMismatch,
    decode_image,
    formats_identity,
    is_ok,
    open_cache,
    store_name,
    without_formats,
)
from extract import ModelSource, Probe
from extract.packing.config import PackConfig
from extract.packing.pack import pack
from tests.bad_images import encode, oriented, png, quadrants
from tests.extract.conftest import Run, make_images
from tests.extract.run.test_probe import probe_maps
from train.data.decoding import decode_pixels


def avif(image: Image.Image, **options: object) -> bytes:
    return encode(image, "AVIF", **{"quality": 95, "subsampling": "4:4:4", "speed": 10, **options})


def save_source(folder: Path, num_avif: int) -> Path:
    """Pictures of two classes as PNG; the first of each class as AVIF."""
    for source in ("real", "toy"):
        (folder / source).mkdir(parents=True)
        for i, data in enumerate(make_images(6)[source == "toy" :: 2]):
            (folder / source / f"{i}.png").write_bytes(data)
            if i < num_avif:
                (folder / source / f"{i}.png").unlink()
                (folder / source / f"{i}.jpg").write_bytes(avif(decode_image(data)))  # as the web names them
    return folder


def pack_source(folder: Path, out: Path, **settings: object) -> Dataset:
    return pack(PackConfig(folder, out, num_workers=1, **settings))


def test_packing_takes_avif_under_any_name(tmp_path: Path) -> None:
    dataset = pack_source(save_source(tmp_path / "src", 1), tmp_path / "data")
    rows = [row for n in range(len(dataset.tars)) for row in dataset.rows(n).to_pylist()]
    assert sorted(row["format"] for row in rows) == ["AVIF"] * 2 + ["PNG"] * 4
    assert formats_identity(dataset) == {"formats": "avif/1"}
    plain = pack_source(save_source(tmp_path / "plain", 0), tmp_path / "plain-data")
    assert formats_identity(plain) == {}


def test_maps_of_avif_are_made_and_are_those_of_a_single_picture(
    models: dict[str, Path], run: Run, tmp_path: Path
) -> None:
    dataset = pack_source(save_source(tmp_path / "src", 1), tmp_path / "data")
    assert run() == 0
    cache = open_cache(tmp_path / "cache")
    assert cache.fields["formats"] == "avif/1"
    probe = Probe.prepare(cache.fields, ModelSource(str(models["sd"])))
    assert dict(probe.fields) == without_formats(cache.fields)
    for n, entry in enumerate(dataset.tars):
        store = cache.read(store_name(entry.name))
        assert is_ok(store.status).all()
        found = probe_maps(probe, dataset, n)
        assert np.abs(found - store.lare).max() <= 1e-5 * np.abs(store.lare).max()


def test_a_rule_of_another_version_is_refused(models: dict[str, Path], run: Run, tmp_path: Path) -> None:
    pack_source(save_source(tmp_path / "src", 1), tmp_path / "data")
    assert run() == 0
    fields = open_cache(tmp_path / "cache").fields | {"formats": "avif/9"}
    with pytest.raises(FingerprintMismatch, match=r"formats: avif/9 ≠ \(absent\)"):
        Probe.prepare(fields, ModelSource(str(models["sd"])))


def test_a_cache_without_avif_goes_on_without_and_says_what_to_do_with(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_source(save_source(tmp_path / "src", 0), tmp_path / "data")
    assert run() == 0
    before = json.loads((tmp_path / "cache" / "cache.json").read_text())
    assert "formats" not in before["fields"]
    for i, data in enumerate(make_images(10)[6:]):  # more of what it had: the cache goes on
        (tmp_path / "src" / ("real", "toy")[i % 2] / f"more{i}.png").write_bytes(data)
    pack_source(tmp_path / "src", tmp_path / "data", append=True)
    assert run() == 0
    (tmp_path / "src" / "toy" / "new.avif").write_bytes(avif(quadrants()))
    pack_source(tmp_path / "src", tmp_path / "data", append=True)
    assert run() == 1
    said = capsys.readouterr().err
    assert "The dataset holds AVIF pictures, which this cache's version did not read." in said
    assert "pass --cache <new folder>" in said
    assert json.loads((tmp_path / "cache" / "cache.json").read_text()) == before
    assert run(cache=tmp_path / "new") == 0


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_avif_is_decoded_upright_alike_in_both_stages(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = avif(quadrants(), exif=exif.tobytes())
    upright = np.asarray(decode_image(oriented("TIFF", orientation)()))
    assert np.abs(np.asarray(decode_image(data)).astype(int) - upright).max() <= 40  # edges between colours
    assert np.array_equal(decode_pixels(data), np.asarray(decode_image(data)))


def test_metadata_that_pillow_gives_up_at_do_not_matter() -> None:
    exif = Image.Exif()
    exif[0x0131] = "a program"
    whole = avif(quadrants(), exif=exif.tobytes())
    assert whole.count(b"MM\0\x2a") == 1
    broken = whole.replace(b"MM\0\x2a", b"junk")
    with pytest.raises(ValueError, match="Invalid Exif payload"):
        Image.open(io.BytesIO(broken), formats=("AVIF",))
    assert np.array_equal(np.asarray(decode_image(broken)), np.asarray(decode_image(whole)))


def test_a_picture_is_decoded_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    data, seen = avif(quadrants()), []
    threads = AvifImagePlugin._get_default_max_threads
    monkeypatch.setattr(AvifImagePlugin, "_get_default_max_threads", lambda: seen.append(threads()) or threads())
    decode_image(data)
    decode_image(png())
    assert seen == [1] and AvifImagePlugin.DEFAULT_MAX_THREADS == 0
