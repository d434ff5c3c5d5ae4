"""Bad and odd images, from their bytes through packing to the reasons in a store."""

import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from cache_schema import (
    Cache,
    Dataset,
    ImageRejected,
    Status,
    check_join,
    decode_image,
    is_ok,
    open_cache,
    sample_key,
    source_path,
    write_dataset,
)
from extract.__main__ import main
from tests.bad_images import CASES, SIZE, WHOLE, Case, jpeg, noise, raw_png
from tests.models import IMAGE_SIZE_PX, save_tiny_sd
from tests.samples import make_sample

COLOR_TOLERANCE = 8
"""Levels that JPEG may move a flat colour by."""


def check_outcome(case: Case) -> None:
    """Decode a file and compare what becomes of it with what must."""
    if case.status is None:
        image = decode_image(case.data())
        assert (image.mode, image.size) == ("RGB", case.size)
        if case.corner is not None:
            assert np.abs(np.subtract(image.getpixel((0, 0)), case.corner)).max() <= COLOR_TOLERANCE
        return
    with pytest.raises(ImageRejected, match=case.reason) as caught:
        decode_image(case.data())
    assert caught.value.status is case.status


@pytest.mark.parametrize("name", CASES)
def test_each_file_becomes_a_picture_or_a_rejection_with_its_reason(name: str) -> None:
    check_outcome(CASES[name])


def test_decoding_starts_no_program_and_opens_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"a file made Pillow call {arguments}")

    data = [case.data() for case in CASES.values()]
    for name in ("subprocess.Popen", "subprocess.call", "os.system", "os.popen", "builtins.open"):
        monkeypatch.setattr(name, refuse)
    for content in data:
        try:
            decode_image(content)
        except ImageRejected as error:
            assert "a file made Pillow call" not in error.reason


@pytest.fixture
def pillow_set_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other libraries of the process set: missing pixels filled with grey, and hardly any pixels allowed."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)


@pytest.mark.usefixtures("pillow_set_by_others")
def test_decoding_does_not_depend_on_pillow_s_settings_in_the_process() -> None:
    for case in CASES.values():
        check_outcome(case)
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == (True, 10)


def test_too_little_memory_is_no_property_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(MemoryError):
        decode_image(jpeg())


def damaged_variants(num_variants: int) -> Iterator[bytes]:
    """Seeded: a few bytes of a whole file changed, often in its header; some cut short as well."""
    rng = np.random.default_rng(0)
    seeds = [make() for make in WHOLE.values()] + [
        case.data() for case in CASES.values() if case.status is None and len(case.data()) < 100_000
    ]
    for _ in range(num_variants):
        data = bytearray(seeds[rng.integers(len(seeds))])
        span = len(data) if rng.random() < 0.5 else min(len(data), 200)
        for at in rng.integers(span, size=rng.integers(1, 9)):
            data[at] ^= rng.integers(1, 256)
        yield bytes(data[: rng.integers(len(data))] if rng.random() < 0.2 else data)


@pytest.mark.timeout(60)
def test_damage_gives_a_picture_or_a_rejection_and_nothing_else() -> None:
    outcomes = []
    for data in damaged_variants(1500):
        try:
            image = decode_image(data)
            assert image.mode == "RGB"
            outcomes.append("picture")
        except ImageRejected as error:
            assert error.status in (Status.UNREADABLE, Status.TOO_LARGE) and 0 < len(error.reason) < 500
            outcomes.append("rejection")
    assert outcomes.count("picture") > 100 and outcomes.count("rejection") > 500


def peak_growth_mb(folder: Path) -> float:
    """Decode all files of a folder in a process of its own; by how much its peak memory grew."""
    code = (
        "import pathlib, resource, sys\n"
        "from cache_schema import ImageRejected, decode_image\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "files = [p.read_bytes() for p in pathlib.Path(sys.argv[1]).iterdir()]\n"
        "before = peak()\n"
        "for data in files:\n"
        "    try:\n"
        "        decode_image(data)\n"
        "    except ImageRejected:\n"
        "        pass\n"
        "sys.stdout.write(str(peak() - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    for i, case in enumerate(CASES.values()):
        (tmp_path / str(i)).write_bytes(case.data())
    assert peak_growth_mb(tmp_path) < 100


@pytest.mark.slow
@pytest.mark.parametrize(("bytes_of_pixel", "color", "depth"), [(3, 2, 8), (4, 6, 8), (2, 0, 16)])
def test_the_largest_image_takes_bounded_memory(bytes_of_pixel: int, color: int, depth: int, tmp_path: Path) -> None:
    data = raw_png(10_000, 10_000, bytes(bytes_of_pixel * 10_000), depth=depth, color=color)
    (tmp_path / "largest.png").write_bytes(data)
    assert peak_growth_mb(tmp_path) < 1800


# Through both commands


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny model's folder; it computes in one thread, since more would wait for each other longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield save_tiny_sd(tmp_path_factory.mktemp("model") / "sd")
    torch.set_num_threads(before)


def extract(data: Path, cache: Path, model: Path) -> int:
    """Run the command over all tars."""
    settings = {"image_size": IMAGE_SIZE_PX, "ensemble_size": 1, "num_workers": 0, "device": "cpu"}
    folders = {"data": data, "cache": cache, "model": model}
    return main(["run", *(f"--{name}={value}" for name, value in {**folders, **settings}.items())])


def check_stores(cache: Cache, dataset: Dataset) -> dict[str, str]:
    """Each row is ok with a finite map, or has the status that its case asks for; returns the reasons by case."""
    reasons = {}
    for n, name in enumerate(cache.shards()):
        shard = cache.read(name)
        check_join(shard, dataset.rows(n), dataset.tars[n])
        for row, key in enumerate(shard.keys):
            case = CASES[Path(source_path(key)).stem]
            assert shard.status[row] == (case.status or Status.OK), key
            assert np.isfinite(shard.lare[row]).all() == (case.status is None), key
            if case.status is not None:
                reasons[key] = shard.attributes["reasons"][str(row)]
                assert re.search(case.reason, reasons[key]), key
        assert len(shard.attributes["reasons"]) == (~is_ok(shard.status)).sum()
    return reasons


def test_rejections_reach_the_store_by_key_with_their_reasons(model: Path, tmp_path: Path) -> None:
    samples = [
        make_sample(i, image=case.data(), source_path=f"{'toy' if i % 2 else 'real'}/{name}.{case.extension}")
        for i, (name, case) in enumerate(CASES.items())
    ]
    dataset = write_dataset(tmp_path / "data", samples, {}, max_rows=64)
    assert extract(dataset.folder, tmp_path / "cache", model) == 3  # more rejected than allowed
    reasons = check_stores(open_cache(tmp_path / "cache"), dataset)
    assert len(reasons) == sum(case.status is not None for case in CASES.values())


def test_packing_records_what_it_leaves_out_and_extraction_rejects_nothing_more(model: Path, tmp_path: Path) -> None:
    src = tmp_path / "src"
    for i, (name, case) in enumerate(CASES.items()):
        path = src / ("toy" if i % 2 else "real") / f"{name}.{case.extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.data())
    (src / "toy" / "zz copy.png").write_bytes(CASES["png palette"].data())
    (tmp_path / "elsewhere.png").write_bytes(jpeg(noise().resize(SIZE)))
    (src / "real" / "one pixel.link.png").symlink_to(tmp_path / "elsewhere.png")
    command = [sys.executable, "-m", "extract", "pack", f"--src={src}", f"--out={tmp_path / 'data'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr

    with (tmp_path / "data" / "rejected.csv").open(newline="") as f:
        rejected = {Path(line["path"]).stem: line["reason"] for line in csv.DictReader(f)}
    assert re.search("same bytes", rejected.pop("zz copy"))
    assert set(rejected) == {name for name, case in CASES.items() if case.status is not None}
    for name, reason in rejected.items():
        assert re.search(CASES[name].reason, reason), name

    dataset = Dataset.open(tmp_path / "data")
    rows = {row["key"]: row for row in dataset.table().to_pylist()}
    assert rows.pop(sample_key("real/one pixel.link.png"))["format"] == "JPEG"
    assert {Path(source_path(key)).stem for key in rows} == {name for name in CASES if name not in rejected}
    assert rows[sample_key(_path_of("png named jpg"))]["format"] == "PNG"
    assert rows[sample_key(_path_of("jpeg mpo"))]["format"] == "JPEG"
    assert extract(dataset.folder, tmp_path / "cache", model) == 0
    cache = open_cache(tmp_path / "cache")
    for name in cache.shards():
        assert (cache.read(name).status == Status.OK).all()


def _path_of(name: str) -> str:
    number = list(CASES).index(name)
    return f"{'toy' if number % 2 else 'real'}/{name}.{CASES[name].extension}"
