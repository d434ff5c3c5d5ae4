import logging
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache_schema import Dataset, DatasetError, write_dataset
from extract.packing.imagenet import class_name_of
from extract.packing.layouts import SourceFile, parse_genimage_path, path_below
from extract.packing.lists import find_layout, list_source
from tests.samples import make_sample


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(src: Path, layout: str = "auto", root: Path | None = None) -> dict[str, SourceFile]:
    """Files of a source by path; each path comes once."""
    files = list(list_source(src, find_layout(src, layout), root, "mine").files)
    by_path = {file.path: file for file in files}
    assert len(by_path) == len(files)
    return by_path


@pytest.fixture
def genimage(tmp_path: Path) -> Path:
    """Three generators, one of them unknown, with the names that GenImage has."""
    root = tmp_path / "genimage"
    for path in (
        "stable_diffusion_v_1_5/imagenet_ai_0424_sdv5/train/ai/000_sdv5_00145.png",
        "stable_diffusion_v_1_5/imagenet_ai_0424_sdv5/train/nature/n01440764_11602.JPEG",
        "stable_diffusion_v_1_5/imagenet_ai_0424_sdv5/val/ai/999_sdv5_00001.png",
        "stable_diffusion_v_1_5/imagenet_ai_0424_sdv5/val/nature/ILSVRC2012_val_00042542.JPEG",
        "VQDM/imagenet_ai_0419_vqdm/train/ai/VQDM_1000_200_07_001_vqdm_00086.PNG",
        "Flux Pro/imagenet_flux/val/ai/deep/picture.webp",
    ):
        touch(root / path)
    touch(root / "README.md", root / "VQDM" / "imagenet_ai_0419_vqdm" / "test" / "ai" / "1_vqdm_1.png")
    return root


def test_genimage_paths_give_all_fields(genimage: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        files = listed(genimage)
    found = {p.split("/")[-1]: (f.label, f.image_source, f.subset, f.split, f.class_name) for p, f in files.items()}
    assert found == {
        "000_sdv5_00145.png": (1, "sdv5", "stable_diffusion_v_1_5", "train", "tench"),
        "n01440764_11602.JPEG": (0, "real", "stable_diffusion_v_1_5", "train", "tench"),
        "999_sdv5_00001.png": (1, "sdv5", "stable_diffusion_v_1_5", "test", "toilet tissue"),
        "ILSVRC2012_val_00042542.JPEG": (0, "real", "stable_diffusion_v_1_5", "test", None),
        "VQDM_1000_200_07_001_vqdm_00086.PNG": (1, "vqdm", "VQDM", "train", "goldfish"),
        "picture.webp": (1, "flux pro", "Flux Pro", "test", None),
    }
    assert "README.md" in caplog.text and "1 entries are left out: test" in caplog.text


def test_one_generators_folder_is_a_source_too(genimage: Path) -> None:
    files = listed(genimage / "VQDM")
    (file,) = files.values()
    assert file.path.startswith("imagenet_ai_0419_vqdm/train/ai/")
    assert (file.image_source, file.subset) == ("vqdm", "VQDM")


@pytest.mark.parametrize(
    ("name", "label", "expected"),
    [
        ("127_midjourney_197.png", 1, "white stork"),
        ("033_sdv4_00152.png", 1, "loggerhead"),
        ("375_adm_64.PNG", 1, "colobus"),
        ("GLIDE_1000_200_00_001_glide_00086.png", 1, "goldfish"),
        ("10_wukong_image72.png", 1, "brambling"),
        ("961_biggan_00139.png", 1, "dough"),
        ("1000_sdv5_1.png", 1, None),
        ("GLIDE_1000_glide_1.png", 1, None),
        ("12_34.png", 1, None),
        ("photo.png", 1, None),
        ("n01440764_11602.JPEG", 0, "tench"),
        ("n99999999_1.JPEG", 0, None),
        ("127_x_1.JPEG", 0, None),
    ],
)
def test_class_names_come_from_file_names(name: str, label: int, expected: str | None) -> None:
    assert class_name_of(name, label) == expected


def test_paths_without_genimages_components_are_none() -> None:
    for path in ("a/imagenet_x/train/ai", "a/imagenet_x/valid/ai/1.png", "a/train/ai/1.png"):
        assert parse_genimage_path(path, "root") is None
    deep = parse_genimage_path("disk/BigGAN/imagenet_x/val/nature/1.png", "root")
    assert deep is not None and (deep.subset, deep.split, deep.label) == ("BigGAN", "test", 0)


def test_folders_follow_links_that_are_asked_for_but_no_loops(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    src = tmp_path / "src"
    touch(src / "real" / "a.png", tmp_path / "elsewhere" / "b.png")
    (src / "toy").symlink_to(tmp_path / "elsewhere")
    (src / "real" / "loop").symlink_to(src / "real")
    (src / "real" / "broken.png").symlink_to(tmp_path / "nothing")
    with caplog.at_level(logging.WARNING):
        listing = list_source(src, "folders", None, "all", follow_links=True)
        assert [file.path for file in listing.files] == ["real/a.png", "real/broken.png", "toy/b.png"]
    assert "loop" in caplog.text
    assert list(listed(src)) == ["real/a.png", "real/broken.png", "toy"]


def test_annotation_lines_are_split_at_tab_or_last_space(tmp_path: Path) -> None:
    lines = ["real photos/a b.png 0", "", "x 1\t1", "./sub//c.png  1", f"{tmp_path}/d.png 0"]
    (tmp_path / "list.txt").write_text("\r\n".join(lines))
    files = listed(tmp_path / "list.txt")
    assert {path: (f.label, f.image_source, f.subset, f.split) for path, f in files.items()} == {
        "real photos/a b.png": (0, "real", "mine", None),
        "x 1": (1, "generated", "mine", None),
        "sub/c.png": (1, "generated", "mine", None),
        "d.png": (0, "real", "mine", None),
    }


def test_annotation_of_genimage_takes_fields_from_paths(tmp_path: Path) -> None:
    path = "BigGAN/imagenet_ai_0419_biggan/val/ai/961_biggan_00139.png"
    (tmp_path / "list.txt").write_text(f"/data/{path} 1\n")
    (file,) = list_source(tmp_path / "list.txt", "annotation", Path("/data"), "mine").files
    assert (file.path, file.image_source, file.split, file.class_name) == (path, "biggan", "test", "dough")
    (tmp_path / "list.txt").write_text(f"{path} 0\n")
    with pytest.raises(ValueError, match="label 0, but the folder says 1"):
        listed(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png", "line 2: expected a path, a tab or space, and the label 0 or real, 1 or fake, found 'a.png'"),
        ("a.png 2", "line 2: expected a path, a tab"),
        ("\t1", "line 2: expected a path"),
        ("../a.png 1", r"line 2: .* may leave .* --root"),
        ("/etc/a.png 1", r"line 2: '/etc/a.png' does not lie below .* --root"),
    ],
)
def test_bad_annotation_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "list.txt").write_text(f"good.png 0\n{line}\n")
    with pytest.raises(ValueError, match=message):
        listed(tmp_path / "list.txt")


def test_absolute_paths_may_go_through_a_linked_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for text in (f"{tmp_path}/link/a.png", f"{tmp_path}/real/a.png", "a.png"):
        assert path_below(tmp_path / "link", text) == "a.png"
    for text in (".", "/", f"{tmp_path}/link", f"{tmp_path}/link/../a.png"):
        with pytest.raises(ValueError, match=r"--root|no path of a file"):
            path_below(tmp_path / "link", text)


def test_tables_fill_in_what_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t.csv").write_text(
        "score,path,label,group,derived_from,split,class_name\n"
        "1,r/NA.png,0,scene 1,,,\n"
        "2,g/a.png,1,,./r/NA.png,train,tench\n"
        '3,"g/b,c.png",,,r/x.y.png,test,\n'
    )
    with caplog.at_level(logging.INFO):
        a, b, c = listed(tmp_path / "t.csv").values()
    assert a == SourceFile("r/NA.png", 0, "real", "mine", None, "scene 1")
    assert b == SourceFile("g/a.png", 1, "generated", "mine", "train", "scene 1", "r/NA%2Epng", "tench")
    assert c == SourceFile("g/b,c.png", None, "control", "mine", "test", "r/x%2Ey%2Epng", "r/x%2Ey%2Epng")
    assert "columns that are ignored: score" in caplog.text


def test_parquet_tables_are_read_the_same(tmp_path: Path) -> None:
    columns = {"path": ["a.png", "b.png"], "label": [1, None], "image_source": ["sd", None], "subset": ["s", None]}
    pq.write_table(pa.table({**columns, "group": [7, 8], "width": [1, 2]}), tmp_path / "t.parquet")
    a, b = listed(tmp_path / "t.parquet").values()
    assert a == SourceFile("a.png", 1, "sd", "s", None, "7")
    assert b == SourceFile("b.png", None, "control", "mine", None, "8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,class\na.png,1\n", "no column 'label'"),
        (
            "path,label\na.png,1\nb.png,2\n",
            "line 3: label of b.png is '2': expected 0 or real, 1 or fake; or nothing for a control",
        ),
        ("path,label\n,1\n", "line 2: path is empty"),
        ("path,label\n../a.png,1\n", "line 2: .* may leave"),
        ("path,label,split\na.png,1,val\n", "line 2: split of a.png is 'val'"),
        ("path,label,derived_from\na.png,1,/b.png\n", "line 2: '/b.png' does not lie below"),
        ("path,label,image_source\na.png,1,real\n", "line 2: .* expected label 0"),
        ("path,label\na.png,1,7\n", "line 2: expected 2 values as in the header, found 3"),
    ],
)
def test_bad_table_rows_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        listed(tmp_path / "t.csv")


def test_packed_datasets_carry_everything_on(tmp_path: Path) -> None:
    sample = make_sample(1, split="validation", class_name="tench", derived_from="real/0%2Epng", source_path="x/1.png")
    dataset = write_dataset(tmp_path / "d", [make_sample(0), sample], {})
    row = dataset.rows(1).to_pylist()[0]
    file = listed(tmp_path / "d")["x/1.png"]
    place = ("validation-000000.tar", row["offset"], row["size"], sample.fields.sha256)
    fields = ("toy", "toy", "validation", "scene-1", "real/0%2Epng", "tench", None)
    assert file == SourceFile("x/1.png", 1, *fields, *place)
    (tmp_path / "d" / "index.parquet").unlink()
    with pytest.raises(DatasetError, match=r"index\.parquet cannot be read"):
        listed(tmp_path / "d")


def test_auto_finds_each_layout(tmp_path: Path, genimage: Path, dataset: Dataset) -> None:
    touch(tmp_path / "list.txt", tmp_path / "t.CSV", tmp_path / "t.parquet", tmp_path / "folders" / "real" / "a.png")
    expected = {"list.txt": "annotation", "t.CSV": "table", "t.parquet": "table", "folders": "folders"}
    for name, layout in {**expected, "genimage": "genimage", "genimage/VQDM": "genimage", "data": "dataset"}.items():
        assert find_layout(tmp_path / name, "auto") == layout


def test_layouts_that_do_not_fit_are_refused(tmp_path: Path, genimage: Path) -> None:
    touch(tmp_path / "list.txt", tmp_path / "folders" / "real" / "a.png")
    for src, layout, message in (
        (tmp_path / "nothing", "auto", "no such folder or file"),
        (tmp_path / "list.txt", "coco", "expected auto, folders, genimage"),
        (tmp_path / "list.txt", "folders", "expected src to be a folder"),
        (tmp_path / "list.txt", "table", r"end in \.csv or \.parquet"),
        (tmp_path / "folders", "annotation", "expected src to be a file"),
        (tmp_path / "folders", "genimage", "expected <generator>/imagenet_"),
        (genimage, "folders", "expected a folder 'real'"),
    ):
        with pytest.raises(ValueError, match=message):
            find_layout(src, layout)


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes there only")
def test_annotations_name_files_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.png 1\n")
    (file,) = listed(tmp_path / "list.txt").values()
    assert os.fsencode(file.path) == b"caf\xe9.png"
