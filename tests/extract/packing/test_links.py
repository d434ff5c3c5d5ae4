"""Packing does not leave its source by links unless that is asked for, and opens nothing on the way."""

import csv
import os
import re
import threading
from pathlib import Path

import pytest

from cache_schema import Dataset, DatasetError, source_path
from extract.packing.layouts import SourceFile
from extract.packing.opening import LEADS_OUT, FileRejected, Root
from extract.packing.pack import PackConfig, pack
from tests.extract.packing.test_pack import save

MOST = 2**20


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """Four images in a source, and two outside of it."""
    for i in range(2):
        save(tmp_path / "src" / "real" / f"{i}.png", i)
        save(tmp_path / "src" / "toy" / f"{i}.png", 10 + i)
        save(tmp_path / "private" / f"{i}.png", 20 + i)
    return tmp_path / "src"


def packed(src: Path, out: Path, **settings: object) -> tuple[set[str], dict[str, str]]:
    """Paths of what was packed, and the reasons of what was not."""
    dataset = pack(PackConfig(src, out, num_workers=1, **settings))
    with (out / "rejected.csv").open(newline="") as f:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(f)}
    return {source_path(key) for key in dataset.table(["key"])["key"].to_pylist()}, reasons


OWN = {"real/0.png", "real/1.png", "toy/0.png", "toy/1.png"}


def test_links_that_lead_out_are_listed_and_followed_only_where_asked(
    src: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (src / "toy" / "absolute.png").symlink_to(tmp_path / "private" / "0.png")
    (src / "toy" / "relative.png").symlink_to("../../private/1.png")
    (src / "toy" / "folder").symlink_to(tmp_path / "private")
    (src / "sdv5").symlink_to(tmp_path / "private")
    found, reasons = packed(src, tmp_path / "out")
    out = {"toy/absolute.png", "toy/relative.png", "toy/folder", "sdv5"}
    assert found == OWN and reasons == dict.fromkeys(out, LEADS_OUT)
    assert f"left out: 4 × {LEADS_OUT} (for example sdv5)" in caplog.text
    assert "follow_links" not in Dataset.open(tmp_path / "out").settings

    found, reasons = packed(src, tmp_path / "all", follow_links=True)
    assert found == OWN | {"sdv5/0.png", "sdv5/1.png"}  # the others have the same bytes
    assert all(reason.startswith("same bytes as sdv5/") for reason in reasons.values()) and len(reasons) == 4
    assert Dataset.open(tmp_path / "all").settings["follow_links"] is True
    with pytest.raises(DatasetError, match=r"follow_links: True ≠ None"):
        pack(PackConfig(src, tmp_path / "all", append=True, num_workers=1))


def test_links_that_stay_inside_are_files_like_others_and_the_root_may_be_one(src: Path, tmp_path: Path) -> None:
    save(src / ".pool" / "a.png", 30)
    save(src / ".pool" / "more" / "b.png", 31)
    (src / "toy" / "a.png").symlink_to("../.pool/a.png")
    (src / "toy" / "pool").symlink_to(src / ".pool" / "more")
    (tmp_path / "link").symlink_to(src)
    found, reasons = packed(tmp_path / "link", tmp_path / "out")
    assert found == OWN | {"toy/a.png", "toy/pool/b.png"} and not reasons


def test_every_layout_stays_inside(src: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for kind, first in (("ai", 40), ("nature", 50)):
        save(tree / "BigGAN" / "imagenet_ai" / "val" / kind / "0.png", first)
    (tree / "BigGAN" / "imagenet_ai" / "train").mkdir()
    (tree / "BigGAN" / "imagenet_ai" / "train" / "nature").symlink_to(tmp_path / "private")
    found, reasons = packed(tree, tmp_path / "genimage")
    assert len(found) == 2 and reasons == {"BigGAN/imagenet_ai/train/nature": LEADS_OUT}

    (src / "out").symlink_to(tmp_path / "private")
    (src / "list.csv").write_text("path,label\nreal/0.png,0\ntoy/0.png,1\nout/0.png,1\n")
    found, reasons = packed(src / "list.csv", tmp_path / "table")
    assert found == {"real/0.png", "toy/0.png"} and reasons == {"out/0.png": LEADS_OUT}
    (src / "list.txt").write_text("real/0.png 0\ntoy/0.png 1\nout/0.png 1\n")
    found, reasons = packed(src / "list.txt", tmp_path / "annotation")
    assert found == {"real/0.png", "toy/0.png"} and reasons == {"out/0.png": LEADS_OUT}


def test_many_links_to_one_folder_are_one_reading(src: Path, tmp_path: Path) -> None:
    """Forty levels of two links each would be 2⁴⁰ ways to one file."""
    for level in range(40):
        (src / "toy" / "deep" / f"{level}").mkdir(parents=True)
        for name in ("a", "b"):
            (src / "toy" / "deep" / f"{level}" / name).symlink_to(f"../{level + 1}")
    save(src / "toy" / "deep" / "40" / "end.png", 60)
    found, reasons = packed(src, tmp_path / "out")
    assert len([path for path in found if path.endswith("end.png")]) == 1
    assert len(reasons) < 200


def test_what_links_lead_to_is_not_opened(src: Path, tmp_path: Path) -> None:
    """A pipe would block its reader until somebody writes."""
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(src / "toy" / "inner")
    (src / "toy" / "pipe.png").symlink_to(tmp_path / "pipe")
    (src / "toy" / "inside.png").symlink_to("inner")
    (src / "toy" / "device.png").symlink_to("/dev/zero")
    (src / "toy" / "round.png").symlink_to("round.png")
    (src / "toy" / "gone.png").symlink_to("nothing.png")
    found, reasons = packed(src, tmp_path / "out")
    assert found == OWN and reasons.pop("toy/round.png").startswith("a link that leads to itself")
    assert reasons == {
        "toy/pipe.png": LEADS_OUT,
        "toy/device.png": LEADS_OUT,
        "toy/inner": "no regular file",
        "toy/inside.png": "no regular file",
        "toy/gone.png": "no such file",
    }
    found, reasons = packed(src, tmp_path / "all", follow_links=True)
    assert reasons["toy/pipe.png"] == reasons["toy/device.png"] == "no regular file"


@pytest.mark.parametrize("what", ["0.png", "."])
def test_a_link_that_takes_a_place_after_the_listing_is_not_followed(src: Path, tmp_path: Path, what: str) -> None:
    root = Root(src)
    assert root.read("toy/0.png", MOST) == (src / "toy" / "0.png").read_bytes()
    place = src / "toy" if what == "." else src / "toy" / what
    place.rename(tmp_path / "before")
    place.symlink_to(tmp_path / "private" if what == "." else tmp_path / "private" / what)
    with pytest.raises(FileRejected, match="leads out of the source"):
        root.read("toy/0.png", MOST)


def test_a_link_that_changes_again_and_again_never_leads_out(src: Path, tmp_path: Path) -> None:
    private = (tmp_path / "private" / "0.png").read_bytes()
    save(src / "pool" / "0.png", 70)
    inside, outside, stop = src / "pool", tmp_path / "private", threading.Event()
    link = src / "toy" / "folder"
    link.symlink_to(inside)

    def swap() -> None:
        targets = [outside, inside]
        while not stop.is_set():
            targets.reverse()
            (tmp_path / "next").symlink_to(targets[0])
            (tmp_path / "next").rename(link)

    swapper = threading.Thread(target=swap)
    swapper.start()
    results = set()
    try:
        for _ in range(3000):
            try:
                results.add(Root(src).read("toy/folder/0.png", MOST))
            except FileRejected:
                results.add(b"")
    finally:
        stop.set()
        swapper.join()
    assert private not in results and results == {b"", (inside / "0.png").read_bytes()}


@pytest.mark.parametrize(
    "data", [b"secret: 0123456789abcdef\n", b"\x89PNG\r\n\x1a\nsecret", b"RIFFsecrWEBPsecret", b"%PDF-secret"]
)
def test_reasons_show_no_bytes_of_a_file(src: Path, tmp_path: Path, data: bytes) -> None:
    (src / "toy" / "key.png").write_bytes(data)
    _, reasons = packed(src, tmp_path / "out")
    assert not re.search(r"secr|0123|\\x", reasons["toy/key.png"]), reasons


def test_descriptors_are_closed(src: Path) -> None:
    (src / "toy" / "link.png").symlink_to("0.png")
    save(src / "toy" / "deep" / "er" / "0.png", 80)
    (src / "out").symlink_to("/")
    before = len(os.listdir("/proc/self/fd"))
    for path in (
        "toy/0.png",
        "toy/link.png",
        "toy/deep/er/0.png",
        "toy/deep",
        "toy/gone/0.png",
        "out/x",
        "toy/0.png/x",
    ):
        try:
            Root(src).read(path, MOST)
        except (FileRejected, OSError):
            continue
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_below_a_file_is_rejected(src: Path) -> None:
    with pytest.raises(NotADirectoryError):
        Root(src).read("toy/0.png/x", MOST)
    assert SourceFile("toy/0.png/x", 1, "toy", "all").key
