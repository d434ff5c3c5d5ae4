"""Import of the authors' maps, through the command line: what is taken, refused, rejected, and read by training."""

import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cache_schema import RULES, Dataset, ImageRejected, ShardData, Status, is_ok, open_cache, write_dataset
from extract.__main__ import main
from extract.authors.map_files import check_same_picture, read_annotation
from tests.bad_images import CASES
from tests.samples import encode_png, make_sample
from train.data.datamodule import LareDataModule

NUM_IMAGES, MAP_SHAPE = 14, (4, 8, 8)
Import = Callable[..., int]


def map_of(i: int) -> Tensor:
    """Map i, as the authors save one: mean of squares, (4, 8, 8), float32."""
    return torch.from_numpy(np.random.default_rng(i).gamma(2.0, 0.5, MAP_SHAPE).astype(np.float32))


class MapFolder:
    """A packed dataset with the folder of maps and the ann.txt that the authors' script would leave beside it."""

    def __init__(self, root: Path) -> None:
        self.root, self.maps, self.annotation = root, root / "maps", root / "maps" / "ann.txt"
        self.maps.mkdir()
        splits = ["train"] * 8 + ["validation"] * 2 + ["test"] * 4
        self.samples = [make_sample(i, split=split, size_px=24 + i) for i, split in enumerate(splits)]
        lines = []
        for i in range(NUM_IMAGES):
            torch.save(map_of(i), self.path(i))
            lines.append(f"{self.path(i)}\t{i % 2}\n")
        self.annotation.write_text("".join(lines))

    def path(self, i: int) -> Path:
        return self.maps / f"{i}.pt"

    def replace(self, i: int, **changes: Any) -> None:
        """Give sample i other fields before packing."""
        self.samples[i] = make_sample(i, **{"split": self.samples[i].fields.split, **changes})

    def pack(self) -> Dataset:
        return write_dataset(self.root / "data", self.samples, {"made_by": "a test"}, max_rows=4)

    def run(self, **settings: Any) -> int:
        if not (self.root / "data").exists():
            self.pack()
        defaults = {
            "data": self.root / "data",
            "maps": self.maps,
            "annotation": self.annotation,
            "cache": self.root / "cache",
            "stored_dtype": "float32",
            "max_reject_fraction": 1,
        }
        return main(["import-maps", *(f"--{name}={value}" for name, value in {**defaults, **settings}.items())])

    def shards(self) -> list[ShardData]:
        cache = open_cache(self.root / "cache")
        return [cache.read(name) for name in cache.shards()]

    def rejected(self) -> dict[str, tuple[Status, str]]:
        """Sample key → status and reason of every rejected row; their maps are NaN."""
        found = {}
        for shard in self.shards():
            for row in np.flatnonzero(~is_ok(shard.status)):
                assert np.isnan(shard.lare[row]).all()
                found[shard.keys[row]] = (Status(shard.status[row]), shard.attributes["reasons"][str(row)])
        return found


@pytest.fixture
def folder(tmp_path: Path) -> MapFolder:
    return MapFolder(tmp_path)


# What is taken


def test_every_map_lands_in_the_row_of_its_image(folder: MapFolder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert folder.run(max_reject_fraction=0) == 0
    maps = {key: lare for shard in folder.shards() for key, lare in zip(shard.keys, shard.lare, strict=True)}
    assert len(maps) == NUM_IMAGES
    for i, sample in enumerate(folder.samples):
        np.testing.assert_array_equal(maps[sample.key], map_of(i).numpy())
    attributes = [shard.attributes for shard in folder.shards()]
    assert attributes[0]["provenance"]["settings"]["annotation"] == "ann.txt"
    assert str(folder.root) not in str(attributes)  # stores are handed on
    assert "14 of 14 images have a file; maps of shape (4, 8, 8)" in caplog.text


def test_fingerprint_says_what_is_known_and_what_is_not(folder: MapFolder) -> None:
    assert folder.run(timestep=200, ensemble_size=4, model="SD 1.5", prompt="a photo", stored_dtype="float16") == 0
    fields = open_cache(folder.root / "cache").fields
    known = {"method": "lare-imported", "timestep": 200, "ensemble_size": 4, "model": "SD 1.5", "image_size": 64}
    known |= {"prompt_policy": "a photo", "stored_dtype": "float16", "mantissa_bits": 10, **RULES}
    assert known.items() <= fields.items()
    for name in ("unet_sha256", "vae_sha256", "noise_seed", "prediction_type", "compute_dtype", "latent_rule"):
        assert fields[name] == "unknown"


def test_timestep_may_stay_unknown(folder: MapFolder) -> None:
    assert folder.run() == 0
    fields = open_cache(folder.root / "cache").fields
    assert (fields["timestep"], fields["ensemble_size"], fields["model"]) == ("unknown",) * 3


def test_maps_may_have_a_leading_one_and_other_float_types(folder: MapFolder) -> None:
    torch.save(map_of(0)[None], folder.path(0))
    torch.save(map_of(1).half(), folder.path(1))
    torch.save(map_of(2).double().requires_grad_(), folder.path(2))
    torch.save(map_of(3), folder.path(3), _use_new_zipfile_serialization=False)
    assert folder.run(max_reject_fraction=0) == 0
    shard = folder.shards()[1]  # train-000000, after test-000000
    np.testing.assert_array_equal(shard.lare[[0, 2, 3]], torch.stack([map_of(i) for i in (0, 2, 3)]).numpy())
    np.testing.assert_array_equal(shard.lare[1], map_of(1).half().float().numpy())


def test_annotation_may_list_images_and_use_spaces(folder: MapFolder) -> None:
    folder.annotation.write_text("".join(f"/old disk/{i}.png {i % 2}\n\n" for i in range(NUM_IMAGES)))
    assert folder.run(max_reject_fraction=0) == 0


def test_training_reads_the_cache(folder: MapFolder) -> None:
    folder.path(3).unlink()
    assert folder.run() == 0
    settings: dict[str, Any] = {"batch_size": 2, "num_workers": 0, "crop_px": 48, "flip": False}
    data = LareDataModule(str(folder.root / "data"), str(folder.root / "cache"), **settings)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 3, 48, 48) and batch["lare"].shape == (2, 4, 6, 6)
    assert (batch["label"] == batch["row"] % 2).all()
    for lare, row in zip(batch["lare"], batch["row"].tolist(), strict=True):
        places = map_of(row).unfold(1, 6, 1).unfold(2, 6, 1).reshape(4, 9, 6, 6)
        assert any(torch.equal(lare, places[:, place]) for place in range(9))
    assert data.num_rejected["train"] == 1
    data.setup("test")
    assert [row for batch in data.test_dataloader() for row in batch["row"].tolist()] == [10, 11, 12, 13]


# Again and elsewhere


def test_stores_that_exist_are_kept_unless_they_are_to_be_replaced(folder: MapFolder) -> None:
    assert folder.run() == 0
    before = {p.name: p.stat().st_ino for p in (folder.root / "cache").iterdir()}
    next((folder.root / "cache").glob("train-000001*")).unlink()
    assert folder.run() == 0
    after = {p.name: p.stat().st_ino for p in (folder.root / "cache").iterdir()}
    assert {name for name in after if after[name] != before[name]} <= {"train-000001.zarr.zip"}
    assert after.keys() == before.keys()
    assert folder.run(overwrite="true") == 0
    assert all(after[p.name] != p.stat().st_ino for p in (folder.root / "cache").glob("*.zip"))


def test_other_maps_do_not_go_into_the_same_cache(folder: MapFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert folder.run() == 0
    first = open_cache(folder.root / "cache").fields["maps_sha256"]
    torch.save(map_of(99), folder.path(5))
    assert folder.run() == 1
    error = capsys.readouterr().err
    assert f"maps_sha256: {first} ≠ " in error and "pass --cache <new folder>" in error
    assert folder.run(cache=folder.root / "other") == 0


def test_maps_hash_is_over_keys_and_files(folder: MapFolder) -> None:
    assert folder.run() == 0
    digest = hashlib.sha256()
    for key, i in sorted((sample.key, i) for i, sample in enumerate(folder.samples)):
        digest.update(key.encode() + b"\0" + hashlib.sha256(folder.path(i).read_bytes()).digest())
    assert open_cache(folder.root / "cache").fields["maps_sha256"] == digest.hexdigest()


# Rejections


def test_two_images_of_one_name_are_both_rejected(folder: MapFolder) -> None:
    folder.replace(2, source_path="real/a/7.v1.png")
    folder.replace(5, source_path="toy/b/7.v2.png")
    folder.replace(7, source_path="toy/other.png")
    assert folder.run() == 0
    rejected = folder.rejected()
    one, other = "real/a/7%2Ev1%2Epng", "toy/b/7%2Ev2%2Epng"
    assert rejected[one] == (
        Status.UNREADABLE,
        f"{other} has the same map name, 7.pt: one map overwrote the other",
    )
    assert rejected[other][1].startswith(f"{one} has the same map name")


def test_a_name_that_the_annotation_has_twice_is_rejected(folder: MapFolder) -> None:
    with folder.annotation.open("a") as f:
        f.write(f"{folder.path(4)}\t0\n/elsewhere/5.png\t1\n")
    assert folder.run() == 0
    reasons = {key: reason for key, (_, reason) in folder.rejected().items()}
    assert reasons.keys() == {folder.samples[4].key, folder.samples[5].key}
    assert "the annotation has 2 images of the name 5.pt" in reasons[folder.samples[5].key]
    assert "/elsewhere/5.png" in reasons[folder.samples[5].key]


def bytes_of(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def with_value(value: float) -> Tensor:
    lare = map_of(3)
    lare[1, 2, 3] = value
    return lare


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (None, Status.UNREADABLE, "there is no 3.pt in the folder of maps"),
        (b"", Status.UNREADABLE, "the map cannot be loaded (EOFError: "),
        (b"<html>", Status.UNREADABLE, "the map cannot be loaded ("),
        (bytes_of(map_of(3))[:900], Status.UNREADABLE, "the map cannot be loaded ("),
        (bytes_of({"map": map_of(3)}), Status.UNREADABLE, "the map's file holds a dict: expected a tensor"),
        (bytes_of(map_of(3).int()), Status.UNREADABLE, "the map is a tensor of torch.int32, torch.strided, on cpu"),
        (bytes_of(map_of(3).to_sparse()), Status.UNREADABLE, "the map is a tensor of torch.float32, torch.sparse_coo"),
        (bytes_of(map_of(3)[0]), Status.UNREADABLE, "the map has shape (8, 8): expected (c, h, w) or (1, c, h, w)"),
        (bytes_of(map_of(3)[:, :4]), Status.UNREADABLE, "the map has shape (4, 4, 8): expected (c, h, w)"),
        (bytes_of(torch.zeros(1).expand(4, 9**6, 9**6)), Status.UNREADABLE, "the map has shape (4, 531441, 531441)"),
        (bytes_of(torch.ones(4, 4, 4)), Status.UNREADABLE, "the map has shape (4, 4, 4), the first one has (4, 8, 8)"),
        (bytes_of(torch.zeros(4, 8, 8)), Status.UNREADABLE, "the map is all zero: the authors' script writes that"),
        (bytes_of(with_value(float("nan"))), Status.NON_FINITE, "the map is not finite"),
        (bytes_of(with_value(float("inf"))), Status.NON_FINITE, "the map is not finite"),
        (bytes_of(with_value(1e6)), Status.NON_FINITE, "the map does not fit float16"),
    ],
)
def test_files_that_are_no_map_are_rejected_with_the_reason(
    folder: MapFolder, content: bytes | None, status: Status, reason: str
) -> None:
    folder.path(3).unlink()
    if content is not None:
        folder.path(3).write_bytes(content)
    assert folder.run(stored_dtype="float16") == 0
    ((key, (found, why)),) = folder.rejected().items()
    assert (key, found) == (folder.samples[3].key, status)
    assert why.startswith(reason)


class _Evil:
    """Creates a file when a careless reader unpickles it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_file_is_never_run(folder: MapFolder, save: Callable[[object, Path], object]) -> None:
    target = folder.root / "pwned"
    save(_Evil(target), folder.path(3))
    torch.load(folder.path(3), weights_only=False) if save is torch.save else pickle.loads(folder.path(3).read_bytes())
    assert target.exists()  # the file does what it should to a careless reader
    target.unlink()
    assert folder.run() == 0
    assert not target.exists()
    ((key, (status, reason)),) = folder.rejected().items()
    assert key == folder.samples[3].key and status == Status.UNREADABLE
    assert "the map cannot be loaded (UnpicklingError" in reason


def test_a_map_of_another_picture_is_rejected(folder: MapFolder) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    turned, clear, exif = io.BytesIO(), encode_png(pixels), Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    Image.fromarray(pixels[..., :3]).save(turned, "JPEG", exif=exif)
    exif[274] = 1
    upright = io.BytesIO()
    Image.fromarray(pixels[..., :3]).save(upright, "JPEG", exif=exif)
    for i, image in enumerate([turned.getvalue(), clear, upright.getvalue()]):
        folder.replace(i, image=image)
    assert folder.run() == 0
    rejected = folder.rejected()
    assert rejected.keys() == {folder.samples[0].key, folder.samples[1].key}
    assert all("the map is of another picture" in reason for _, reason in rejected.values())


def test_more_rejections_than_allowed_exit_3_with_the_stores_written(
    folder: MapFolder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.path(3).unlink()
    assert folder.run(max_reject_fraction=0.2) == 3
    assert len(folder.shards()) == 4
    assert "train-000000.tar: 25.0 % rejected, 20.0 % allowed" in caplog.text
    assert folder.run(max_reject_fraction=0.25, cache=folder.root / "again") == 0


# Refusals


def test_labels_that_differ_are_named(folder: MapFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.annotation.write_text(folder.annotation.read_text().replace("5.pt\t1", "5.pt\t0"))
    with pytest.raises(SystemExit) as exit_info:
        folder.run()
    assert exit_info.value.code == 2
    assert "1 labels of the annotation are not the index's: toy/5%2Epng is 1 in the index, 0 in the annotation" in (
        capsys.readouterr().err
    )
    assert not (folder.root / "cache").exists()


def test_a_control_has_no_label_to_differ(folder: MapFolder) -> None:
    folder.replace(13, label=None, image_source="blur", source_path="blur/13.png")
    assert folder.run(max_reject_fraction=0) == 0


def test_an_image_without_a_line_is_rejected(folder: MapFolder) -> None:
    lines = folder.annotation.read_text().splitlines(keepends=True)
    folder.annotation.write_text("".join(lines[1:]))
    assert folder.run() == 0
    assert folder.rejected() == {
        folder.samples[0].key: (Status.UNREADABLE, "the annotation has no line for 0.pt"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png\n", "line 1: expected a path, .* found 'a.png'"),
        ("\na.png\t1\nb.png\t2\n", r"line 3: expected a path, .* found 'b.png\\t2'"),
    ],
)
def test_another_form_of_annotation_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "ann.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_annotation(tmp_path / "ann.txt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"maps": "/nowhere"}, "maps is /nowhere: no such folder"),
        ({"annotation": "/nowhere/ann.txt"}, "annotation is /nowhere/ann.txt: no such file"),
        ({"timestep": -1}, "timestep is -1: expected 0 or more"),
        ({"ensemble_size": 0}, "ensemble_size is 0: expected 1 or more"),
        ({"max_reject_fraction": 2}, "max_reject_fraction is 2"),
        ({"stored_dtype": "float64"}, "stored_dtype"),
    ],
)
def test_wrong_settings_end_as_a_usage_error(
    folder: MapFolder, settings: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        folder.run(**settings)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_an_image_size_that_does_not_fit_the_maps_is_an_error(
    folder: MapFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folder.run(image_size=100) == 1
    assert "image_size is 100: maps of 8 cells do not divide it" in capsys.readouterr().err
    assert folder.run(image_size=32) == 0
    assert open_cache(folder.root / "cache").fields["image_size"] == 32


def test_a_folder_without_maps_is_an_error(folder: MapFolder, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(NUM_IMAGES):
        folder.path(i).write_bytes(b"")
    assert folder.run() == 1
    error = capsys.readouterr().err
    assert "holds no map that can be used" in error and "14 files have the name of an image" in error
    assert "13.pt: the map cannot be loaded" in error


def test_an_image_that_changed_after_packing_stops_the_import(
    folder: MapFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = folder.pack()
    row = dataset.rows(1).to_pylist()[2]
    with dataset.tar_path(1).open("r+b") as f:
        f.seek(row["offset"] + row["size"] - 1)
        f.write(b"\0")
    assert folder.run() == 1
    assert f"{dataset.tar_path(1)}, row 2 ({row['key']}): the image's sha256 is not" in capsys.readouterr().err


def test_a_map_that_changes_meanwhile_stops_the_import(
    folder: MapFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from extract.authors import import_maps

    def create_cache(*args: Any) -> Any:
        torch.save(map_of(99), folder.path(5))
        return original(*args)

    original = import_maps.create_cache
    monkeypatch.setattr(import_maps, "create_cache", create_cache)
    assert folder.run() == 1
    assert "5.pt was changed during the import" in capsys.readouterr().err


def test_metadata_that_pillow_gives_up_at_does_not_end_an_import() -> None:
    check_same_picture(CASES["png text bomb"].data())
    with pytest.raises(ImageRejected, match="the map is of another picture"):
        check_same_picture(CASES["png turned, with a text bomb"].data())
