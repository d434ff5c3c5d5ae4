import csv
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache_schema import Dataset, DatasetError, read_image_bytes
from extract.__main__ import main
from extract.packing import inspecting
from extract.packing.copies import CopyRule
from extract.packing.inspecting import inspect_bytes
from extract.packing.layouts import SourceFile
from extract.packing.opening import Root
from extract.packing.pack import PackConfig, pack


def save(path: Path, seed: int, *, size: tuple[int, int] = (24, 16), **options: object) -> None:
    """Write a picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """30 images of three sources, and five files that cannot be used."""
    src = tmp_path / "src"
    for i in range(10):
        save(src / "real" / f"{i}.v1.jpeg", i, quality=90)
        save(src / "sdv5" / f"{i}.png", 100 + i)
        save(src / "biggan" / "deep" / f"{i}.PNG", 200 + i)
    (src / "real" / "empty.jpg").write_bytes(b"")
    (src / "real" / "page.jpg").write_bytes(b"<html>")
    (src / "sdv5" / "cut.png").write_bytes((src / "sdv5" / "0.png").read_bytes()[:500])
    (src / "sdv5" / "copy.png").write_bytes((src / "sdv5" / "0.png").read_bytes())
    (src / "notes.txt").write_text("not below a source folder")
    return src


def test_pack_keeps_bytes_and_fields(src: Path, tmp_path: Path) -> None:
    dataset = pack(PackConfig(src, tmp_path / "out", num_workers=2, max_rows=8))
    assert {s: sum(c.get(s, 0) for c in dataset.counts.values()) for s in ("real", "sdv5", "biggan")} == {
        "real": 10,
        "sdv5": 10,
        "biggan": 10,
    }
    rows = {r["source_path"]: (n, r) for n in range(len(dataset.tars)) for r in dataset.rows(n).to_pylist()}
    n, row = rows["real/3.v1.jpeg"]
    assert (row["key"], row["label"], row["jpeg_quality"]) == ("real/3%2Ev1%2Ejpeg", 0, 90)
    assert (row["width"], row["height"], row["format"]) == (24, 16, "JPEG")
    data = read_image_bytes(dataset.tar_path(n), row["offset"], row["size"])
    assert data == (src / "real" / "3.v1.jpeg").read_bytes()
    assert rows["biggan/deep/3.PNG"][1]["label"] == 1 and rows["biggan/deep/3.PNG"][1]["image_source"] == "biggan"


def test_unusable_files_are_recorded(src: Path, tmp_path: Path) -> None:
    pack(PackConfig(src, tmp_path / "out", num_workers=1))
    with (tmp_path / "out" / "rejected.csv").open() as f:
        reasons = {r["path"]: r["reason"] for r in csv.DictReader(f)}
    assert set(reasons) == {"real/empty.jpg", "real/page.jpg", "sdv5/cut.png", "sdv5/copy.png"}
    assert reasons["real/empty.jpg"] == "empty file" and "cannot identify" in reasons["real/page.jpg"]
    assert reasons["sdv5/copy.png"] == "same bytes as sdv5/0.png"


def test_packing_twice_gives_the_same_bytes(src: Path, tmp_path: Path) -> None:
    for name, workers in (("a", 1), ("b", 2)):
        pack(PackConfig(src, tmp_path / name, num_workers=workers, max_rows=8))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_sources_are_mixed_within_a_tar(src: Path, tmp_path: Path) -> None:
    dataset = pack(PackConfig(src, tmp_path / "out", test_fraction=0, validation_fraction=0, max_rows=15))
    assert all(len(set(dataset.rows(n)["image_source"].to_pylist())) == 3 for n in range(len(dataset.tars)))


def test_split_folders_are_kept_and_validation_is_cut_from_train(src: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    (src / "notes.txt").unlink()
    src.rename(both / "train")
    for i in range(5):
        save(both / "test" / "real" / f"{i}.png", 300 + i)
    dataset = pack(PackConfig(both, tmp_path / "out", validation_fraction=0.3))
    assert dataset.counts["test"] == {"real": 5}
    assert sum(dataset.counts["train"].values()) + sum(dataset.counts["validation"].values()) == 30
    assert 0 < sum(dataset.counts["validation"].values()) < 20


def test_other_layouts_and_outputs_are_refused(src: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        PackConfig(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(ValueError, match="expected a folder 'real'"):
        PackConfig(src / "biggan", tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(DatasetError, match="exists"):
        pack(PackConfig(src, tmp_path / "out"))


@pytest.mark.parametrize("quality", [1, 30, 75, 96, 100])
def test_jpeg_quality_is_read_from_the_tables(tmp_path: Path, quality: int) -> None:
    save(tmp_path / "x.jpg", 0, quality=quality)
    assert inspect_bytes((tmp_path / "x.jpg").read_bytes()).jpeg_quality == quality


def rejections(folder: Path) -> dict[str, str]:
    with (folder / "rejected.csv").open(newline="") as f:
        return {r["path"]: r["reason"] for r in csv.DictReader(f)}


def rows_of(dataset: Dataset) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in dataset.table().to_pylist()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_kind_of_unusable_file_has_its_reason(tmp_path: Path) -> None:
    src = tmp_path / "src"
    for i in range(3):
        save(src / "real" / f"{i}.png", i)
    shutil.copy(src / "real" / "0.png", src / "real" / "0b.png")
    (src / "toy").mkdir()
    shutil.copy(src / "real" / "1.png", src / "toy" / "1.png")
    (src / "toy" / "link.png").symlink_to(src / "gone.png")
    os.mkfifo(src / "toy" / "pipe.png")
    (src / "toy" / "back\\slash.png").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(src / "toy") + b"/caf\xe9.png")).write_bytes(b"x")
    save(src / "toy" / "e\u0301.png", 5)
    save(src / "toy" / "\u00e9.png", 6)
    dataset = pack(PackConfig(src, tmp_path / "out", num_workers=1))
    reasons = rejections(dataset.folder)
    assert reasons["real/0b.png"] == "same bytes as real/0.png"
    assert reasons["toy/1.png"] == "same bytes as real/1.png, which has label 0"
    assert reasons["toy/link.png"] == "no such file" and reasons["toy/pipe.png"] == "no regular file"
    assert "its name makes no key" in reasons["toy/back\\slash.png"] and "utf-8" in reasons["toy/caf\\xe9.png"]
    assert reasons["toy/\u00e9.png"] == "same key as toy/\u00e9.png"
    assert len(reasons) == 7 and sum(tar.num_rows for tar in dataset.tars) == 4


def test_files_that_cannot_be_read_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        save(tmp_path / "src" / "real" / f"{i}.png", i)
    read = Root.read

    def refuse(root: Root, path: str, max_bytes: int) -> bytes:
        if path == "real/1.png":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(root, path, max_bytes)

    monkeypatch.setattr(Root, "read", refuse)
    pack(PackConfig(tmp_path / "src", tmp_path / "out", num_workers=1))
    assert rejections(tmp_path / "out") == {"real/1.png": "cannot be read: Input/output error"}
    with pytest.raises(ValueError, match="no samples"):
        pack(PackConfig(tmp_path / "src", tmp_path / "none", max_file_bytes=10, num_workers=1))
    assert {p.name for p in tmp_path.iterdir()} == {"src", "out", "none.rejected.csv"}


def test_listed_files_that_are_missing_are_rejected(src: Path, tmp_path: Path) -> None:
    (src / "list.txt").write_text("real/0.v1.jpeg 0\nsdv5/0.png 1\nreal/nothing.png 0\nsdv5/0.png 0\n")
    dataset = pack(PackConfig(src / "list.txt", tmp_path / "out", subset="mine", num_workers=1, test_fraction=0))
    assert rejections(tmp_path / "out") == {
        "real/nothing.png": "no such file",
        "sdv5/0.png": "same bytes as sdv5/0.png, which has label 1",
    }
    assert {row["image_source"] for row in rows_of(dataset).values()} == {"real", "generated"}
    assert dataset.settings["layout"] == "annotation" and dataset.settings["match"] is None
    assert not {"src", "out", "root", "num_workers", "append"} & dataset.settings.keys()


def test_genimages_val_is_test_and_validation_is_cut_from_train(tmp_path: Path) -> None:
    folder = tmp_path / "src" / "ADM" / "imagenet_ai_0508_adm"
    for i in range(20):
        save(folder / "train" / "ai" / f"{i}_adm_1.PNG", i)
        save(folder / "val" / "nature" / f"ILSVRC2012_val_{i:08d}.JPEG", 100 + i)
    dataset = pack(PackConfig(tmp_path / "src", tmp_path / "out", validation_fraction=0.3, num_workers=1))
    assert dataset.counts["test"] == {"real": 20}
    assert dataset.counts["train"]["adm"] + dataset.counts["validation"]["adm"] == 20
    row = rows_of(dataset)["ADM/imagenet_ai_0508_adm/train/ai/0_adm_1%2EPNG"]
    assert (row["class_name"], row["subset"], row["group"]) == ("tench", "ADM", row["key"])


def test_groups_are_never_divided(tmp_path: Path) -> None:
    lines = ["path,label,derived_from"]
    for i in range(20):
        save(tmp_path / "src" / f"{i}.png", i)
        save(tmp_path / "src" / f"{i}-fake.png", 100 + i)
        lines += [f"{i}.png,0,", f"{i}-fake.png,1,{i}.png"]
    (tmp_path / "src" / "t.csv").write_text("\n".join(lines))
    config = PackConfig(tmp_path / "src" / "t.csv", tmp_path / "out", test_fraction=0.3, validation_fraction=0.3)
    rows = rows_of(pack(config))
    assert {row["split"] for row in rows.values()} == {"train", "validation", "test"}
    for i in range(20):
        photograph, fake = rows[f"{i}%2Epng"], rows[f"{i}-fake%2Epng"]
        assert fake["derived_from"] == fake["group"] == photograph["group"] == photograph["key"]
        assert fake["split"] == photograph["split"]


def test_settings_are_checked_before_any_file_is_read(src: Path, tmp_path: Path) -> None:
    (src / "list.txt").touch()
    for changes, message in (
        ({"layout": "coco"}, "expected auto"),
        ({"root": src}, "only lists of paths have a root"),
        ({"src": src / "list.txt", "root": src / "nowhere"}, "root is .* no such folder"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"max_rows": 0}, "max_rows is 0"),
        ({"num_workers": 0}, "num_workers is 0"),
        ({"degrade": "melt"}, "degrade is 'melt'"),
        ({"match": "common", "degrade": "jpeg:65"}, "at most one"),
    ):
        with pytest.raises(ValueError, match=message):
            PackConfig(**{"src": src, "out": tmp_path / "out", **changes})


def test_a_packed_dataset_is_packed_again_as_it_is(dataset: Dataset, tmp_path: Path) -> None:
    again = pack(PackConfig(dataset.folder, tmp_path / "out", num_workers=1, max_rows=8))
    place = ("tar", "row", "offset")
    without_place = [{k: v for k, v in row.items() if k not in place} for row in rows_of(again).values()]
    expected = [{k: v for k, v in row.items() if k not in place} for row in rows_of(dataset).values()]
    assert sorted(without_place, key=itemgetter("key")) == sorted(expected, key=itemgetter("key"))
    with dataset.tar_path(0).open("r+b") as f:
        f.seek(dataset.rows(0)["offset"][2].as_py() + 50)
        f.write(b"\0\0\0")
    with pytest.raises(DatasetError, match=r"train-000000\.tar: the bytes of real/2\.png are not those"):
        pack(PackConfig(dataset.folder, tmp_path / "more", num_workers=1))


def test_copies_keep_everything_but_their_bytes(src: Path, tmp_path: Path) -> None:
    plain = pack(PackConfig(src, tmp_path / "plain", num_workers=1))
    for name, workers in (("a", 1), ("b", 2)):
        copied = pack(PackConfig(plain.folder, tmp_path / name, match="common", num_workers=workers))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert copied.settings["match"] == "common" and copied.counts == plain.counts
    bytes_fields = {"tar", "row", "offset", "size", "sha256", "width", "height", "format", "jpeg_quality"}
    before, after = rows_of(plain), rows_of(copied)
    for key, row in after.items():
        assert (row["width"], row["height"], row["format"], row["jpeg_quality"]) == (256, 256, "JPEG", 96)
        assert {k: v for k, v in row.items() if k not in bytes_fields} == {
            k: v for k, v in before[key].items() if k not in bytes_fields
        }
    row = after["sdv5/3%2Epng"]
    n = [tar.name for tar in copied.tars].index(row["tar"])
    data = read_image_bytes(copied.tar_path(n), row["offset"], row["size"])
    made = CopyRule("common").make(row["key"], (src / "sdv5/3.png").read_bytes(), label=1, photograph=None)
    assert data == made and before["sdv5/3%2Epng"]["sha256"] != row["sha256"]


def test_images_that_a_copy_rule_leaves_out_are_recorded(src: Path, tmp_path: Path) -> None:
    save(src / "real" / "fit.jpg", 400, quality=96, size=(500, 460))
    dataset = pack(PackConfig(src, tmp_path / "out", match="select", num_workers=1, test_fraction=0))
    assert {s: sum(c.get(s, 0) for c in dataset.counts.values()) for s in ("real", "sdv5", "biggan")} == {
        "real": 1,
        "sdv5": 10,
        "biggan": 10,
    }
    assert "match select keeps photographs" in rejections(tmp_path / "out")["real/3.v1.jpeg"]


def test_sides_that_select_keeps_are_a_setting(src: Path, tmp_path: Path) -> None:
    save(src / "real" / "fit.jpg", 400, quality=96, size=(64, 70))
    arguments = [f"--src={src}", "--match=select", "--num_workers=1", "--test_fraction=0"]
    assert main(["pack", f"--out={tmp_path / 'own'}", "--select_px=[58,70]", *arguments]) == 0
    assert main(["pack", f"--out={tmp_path / 'default'}", *arguments]) == 0
    own, default = (Dataset.open(tmp_path / name) for name in ("own", "default"))
    assert own.settings["select_px"] == [58, 70] and "select_px" not in default.settings
    kept = [sum(counts.get("real", 0) for counts in dataset.counts.values()) for dataset in (own, default)]
    assert kept == [1, 0]


def test_blends_take_the_photograph_from_the_source(tmp_path: Path) -> None:
    src = tmp_path / "src"
    for i in range(4):
        save(src / f"{i}.png", i)
    (src / "bad.png").write_bytes(b"no image")
    (src / "t.csv").write_text(
        "path,label,derived_from\n0.png,0,\n1.png,1,0.png\n2.png,,absent.png\n3.png,1,bad.png\nbad.png,0,\n"
    )
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        dataset = pack(PackConfig(src / "t.csv", out, degrade="blend:0.5", num_workers=workers, test_fraction=0))
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")
    assert set(rows_of(dataset)) == {"0%2Epng", "1%2Epng"}
    reasons = rejections(dataset.folder)
    assert "the photograph it was made from, absent%2Epng, is not in the source" in reasons["2.png"]
    assert "bad%2Epng, is not in the source or cannot be used" in reasons["3.png"]
    row = rows_of(dataset)["1%2Epng"]
    data = read_image_bytes(dataset.folder / row["tar"], row["offset"], row["size"])
    files = [(src / f"{i}.png").read_bytes() for i in (1, 0)]
    assert data == CopyRule(degrade="blend:0.5").make("1%2Epng", files[0], label=1, photograph=files[1])


def test_a_file_that_changes_while_it_is_packed_stops_the_packing(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspect_then_change(root: Root, rule: CopyRule, file: SourceFile, **limits: int) -> inspecting.Facts:
        facts = inspecting.inspect_file(root, rule, file, **limits)
        if file.path == "sdv5/3.png":
            save(root.folder / file.path, 999)
        return facts

    monkeypatch.setattr("extract.packing.pack.inspect_file", inspect_then_change)
    with pytest.raises(DatasetError, match=r"sdv5/3\.png has changed since it was inspected"):
        pack(PackConfig(src, tmp_path / "out", num_workers=1))
    assert {p.name for p in tmp_path.iterdir()} == {"src"}


@pytest.mark.parametrize("degrade", [None, "jpeg:65"])
def test_appending_packs_what_is_new(
    src: Path, tmp_path: Path, degrade: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = PackConfig(src, tmp_path / "out", degrade=degrade, num_workers=1, max_rows=8)
    first = pack(config)
    before = contents(tmp_path / "out")
    for i in range(5):
        save(src / "flux" / f"{i}.png", 500 + i)
    shutil.copy(src / "sdv5" / "4.png", src / "flux" / "again.png")
    save(src / "real" / "page.jpg", 600)  # was no image
    caplog.clear()
    grown = pack(replace(config, append=True))
    assert "6 images in" in caplog.text and "30 were there already" in caplog.text
    assert grown.dataset_id == first.dataset_id and grown.tars[: len(first.tars)] == first.tars
    assert set(rows_of(grown)) - set(rows_of(first)) == {*(f"flux/{i}%2Epng" for i in range(5)), "real/page%2Ejpg"}
    assert all(contents(tmp_path / "out")[name] == data for name, data in before.items() if name.endswith(".tar"))
    reasons = rejections(tmp_path / "out")
    assert set(reasons) == {"real/empty.jpg", "sdv5/cut.png", "sdv5/copy.png", "flux/again.png"}
    assert reasons["flux/again.png"] == "same bytes as sdv5/4.png"
    after = contents(tmp_path / "out")
    assert pack(replace(config, append=True)) == grown and contents(tmp_path / "out") == after


def test_appending_another_source_keeps_earlier_rejections(src: Path, tmp_path: Path) -> None:
    pack(PackConfig(src, tmp_path / "out", num_workers=1))
    save(tmp_path / "more" / "real" / "new.png", 700)
    (tmp_path / "more" / "real" / "void.png").touch()
    shutil.copy(src / "biggan" / "deep" / "1.PNG", tmp_path / "more" / "real" / "other.png")
    pack(PackConfig(tmp_path / "more", tmp_path / "out", append=True, num_workers=1))
    reasons = rejections(tmp_path / "out")
    assert reasons["real/other.png"] == "same bytes as biggan/deep/1.PNG, which has label 1"
    assert reasons["real/void.png"] == reasons["real/empty.jpg"] == "empty file" and len(reasons) == 6


def test_appending_refuses_changed_files_and_settings(src: Path, tmp_path: Path) -> None:
    config = PackConfig(src, tmp_path / "out", num_workers=1)
    pack(config)
    before = contents(tmp_path / "out")
    with pytest.raises(DatasetError, match=r"seed: 0 ≠ 1\n  test_fraction: 0\.2 ≠ 0\.3"):
        pack(replace(config, append=True, seed=1, test_fraction=0.3))
    with pytest.raises(DatasetError, match=r"holds no dataset\.json"):
        pack(replace(config, append=True, out=tmp_path / "nothing"))
    save(src / "sdv5" / "4.png", 999)
    with pytest.raises(ValueError, match=r"sdv5/4\.png is in the dataset with other bytes"):
        pack(replace(config, append=True))
    assert contents(tmp_path / "out") == before and not (tmp_path / "nothing").exists()


def kill_when(command: list[str], is_time: Callable[[], bool]) -> None:
    """Start a packing and kill it with SIGKILL at the moment given; its workers must then end by themselves."""
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    while not is_time():
        assert process.poll() is None, "it was through before it could be killed"
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 60
    with pytest.raises(ProcessLookupError):  # nobody of its group is left
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("degrade", [None, "blur:1"])
def test_killed_packing_and_appending_end_as_if_never_killed(tmp_path: Path, degrade: str | None) -> None:
    src, out, whole = tmp_path / "src", tmp_path / "out", tmp_path / "whole"
    for i in range(300):
        save(src / "real" / f"{i}.png", i, size=(96, 96))
    options = ["--max_rows", "4", "--num_workers", "2", *(["--degrade", degrade] if degrade else [])]

    def command(target: Path, *more: str) -> list[str]:
        start = [sys.executable, "-m", "extract", "pack", "--src", str(src), "--out", str(target)]
        return [*start, *options, *more]

    kill_when(command(out), lambda: bool(list(tmp_path.glob(".out.*.tmp/train-000003.tar"))))
    assert not out.exists() and list(tmp_path.glob(".out.*.tmp"))
    for target in (out, whole):
        subprocess.run(command(target), check=True, stderr=subprocess.DEVNULL)
    assert contents(out) == contents(whole)
    assert {p.name for p in tmp_path.iterdir()} == {"src", "out", "whole"}

    before = contents(out)
    for i in range(300):
        save(src / "toy" / f"{i}.png", 1000 + i, size=(96, 96))
    kill_when(command(out, "--append", "true"), lambda: bool(list(out.glob(".append.*.tmp/train-*.tar"))))
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before
    for target in (out, whole):
        subprocess.run(command(target, "--append", "true"), check=True, stderr=subprocess.DEVNULL)
    assert contents(out) == contents(whole) and Dataset.open(out).counts["train"].keys() == {"real", "toy"}


def test_a_bad_line_ends_the_command_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ann.txt").write_text("one.png maybe\n")
    assert main(["pack", f"--src={tmp_path / 'ann.txt'}", f"--out={tmp_path / 'out'}"]) == 1
    text = capsys.readouterr().err
    assert "ann.txt, line 1: expected a path, a tab or space, and the label" in text and "'one.png maybe'" in text
    assert not (tmp_path / "out").exists()


def test_a_full_disk_ends_packing_with_the_place_and_leaves_nothing(src: Path, tmp_path: Path) -> None:
    limited = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
    limited += "from extract.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", limited, "pack", f"--src={src}", f"--out={tmp_path / 'out'}", "--num_workers=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"error: {tmp_path / 'out'}: file too large"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["src"]
