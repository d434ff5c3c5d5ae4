"""Classes of photographs whose names say none: public lists of ImageNet's validation images, or a CSV."""

from pathlib import Path

import pytest

from cache_schema import Dataset, source_path
from extract.models.prompts import PromptPolicy
from extract.packing.class_names import ClassNames
from extract.packing.layouts import SourceFile
from extract.packing.pack import PackConfig, pack
from tests.extract.packing.test_pack import save

FIRST = "ILSVRC2012_val_00000001.JPEG"
POLICY = PromptPolicy("template", "a photo of a {class_name}", "a photo")


def class_of(names: ClassNames, path: str) -> str | None:
    return names.complete(SourceFile(path, 0, "real", "all")).class_name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("LOC_val_solution.csv", "ImageId,PredictionString\nILSVRC2012_val_00000001,n01751748 111 108 441 193 \n"),
        ("val.txt", f"{FIRST} 65\nILSVRC2012_val_00000002.JPEG 970\n"),
        ("val_list.txt", f"val/{FIRST} 65\r\n"),
        ("synsets.txt", f"# comment\n{FIRST} n01751748\n"),
        ("imagenet_2012_validation_synset_labels.txt", "n01751748\nn09193705\n"),
        ("valprep.sh", f"mkdir -p n01751748\nmv {FIRST} n01751748/\n"),
        ("own.csv", f"file,class\n{FIRST},sea snake\n"),
        ("own.csv", f'\ufeff"Image ID";"Class Name";more\n"{FIRST}";"sea snake";x\n'),
        ("own.csv", f"path,wnid\nsomewhere/{FIRST},n01751748\n\n"),
        ("own.csv", f"filename\tclass\n{FIRST}\t65\n"),
    ],
)
def test_public_lists_and_tables_are_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    names = ClassNames.read(tmp_path / name)
    assert class_of(names, f"BigGAN/imagenet_ai_0419_biggan/val/nature/{FIRST}") == "sea snake"
    assert class_of(names, "ILSVRC2012_val_00000009.JPEG") is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ILSVRC2012_validation_ground_truth.txt", "490\n361\n", r"line 1: .*found '490' \(ids of the ILSVRC2012 kit"),
        ("a.txt", f"{FIRST} 65\nhello\n", "line 2: expected a file and its class"),
        ("a.txt", f"n01751748\n{FIRST} 65\n", "line 2: expected a file and its class"),
        ("a.txt", f"{FIRST} n99999999\n", "line 1: 'n99999999' is no class of ImageNet's 1,000"),
        ("a.txt", "", "names no file"),
        ("a.csv", "file,label\nx.png,1\n", "expected a header with a column for the file .* found 'file,label'"),
        ("a.csv", "file,class\nx.png,1000\n", "line 2: '1000' is no class"),
        ("a.csv", "file,class\nx.png,\n", "line 2: expected a file and a class"),
        ("a.csv", 'file,class\nx.png,"a\n', "line 2: cannot be read as a row"),
        ("a.csv", "file,class\na/x.png,cat\na/x.png,dog\n", "line 3: a/x.png comes twice, with different classes"),
    ],
)
def test_other_lists_are_refused_by_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        ClassNames.read(tmp_path / name)


def test_names_that_repeat_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("file,class\na/x.png,cat\nb/x.png,dog\nc/y.v2.png,owl\n")
    names = ClassNames.read(tmp_path / "own.csv")
    assert [class_of(names, path) for path in ("a/x.png", "b/x.png", "c/x.png")] == ["cat", "dog", None]
    assert class_of(names, "elsewhere/y.v2.png") == class_of(names, "y.v2.jpg") == "owl"


def genimage(root: Path) -> Path:
    """Six generated images, three training photographs, three of ImageNet's validation images."""
    tree = root / "BigGAN" / "imagenet_ai_0419_biggan"
    for i in range(3):
        save(tree / "train" / "ai" / f"{i}_biggan_0000{i}.png", i)
        save(tree / "val" / "ai" / f"65_biggan_0001{i}.png", 10 + i)
        save(tree / "train" / "nature" / f"n01440764_{i}.JPEG", 20 + i)
        save(tree / "val" / "nature" / f"ILSVRC2012_val_0000000{i + 1}.JPEG", 30 + i)
    return root


def classes(dataset: Dataset) -> dict[str, str | None]:
    table = dataset.table(["key", "class_name"])
    return {source_path(k).rpartition("/")[2]: n for k, n in zip(*table.to_pydict().values(), strict=True)}


def test_genimage_gets_class_prompts_for_its_photographs_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    src = genimage(tmp_path / "src")
    without = pack(PackConfig(src, tmp_path / "out", num_workers=1))
    assert classes(without)[FIRST] is None
    with pytest.raises(ValueError, match=r"50.0% of the real and 0.0% of the generated images have no class name"):
        POLICY.check_labels(without)

    (tmp_path / "val.txt").write_text(f"{FIRST} 65\nILSVRC2012_val_00000002.JPEG 970\n")
    update = {"append": True, "update_labels": True, "classes": tmp_path / "val.txt", "num_workers": 1}
    with pytest.raises(ValueError, match=r"class_name of 2; the first is .* class_name None in the dataset and"):
        pack(PackConfig(src, tmp_path / "out", **{**update, "update_labels": False}))
    dataset = pack(PackConfig(src, tmp_path / "out", **update))
    assert classes(dataset)[FIRST] == "sea snake" and classes(dataset)["1_biggan_00001.png"] == "goldfish"
    assert "1 of 6 real images have no class name, neither by the source nor by" in caplog.text
    assert "ILSVRC2012_val_00000003.JPEG" in caplog.text and "generated images have no class name" not in caplog.text

    (tmp_path / "val.txt").write_text("n01751748\nn09193705\nn02105855\n")
    dataset = pack(PackConfig(src, tmp_path / "new", classes=tmp_path / "val.txt", num_workers=1))
    POLICY.check_labels(dataset)
    prompts = POLICY.prompts(dataset.table())
    assert "a photo of a sea snake" in prompts and "a photo" not in prompts
    assert dataset.settings == without.settings


def test_class_that_the_source_says_stays(tmp_path: Path) -> None:
    for i in range(2):
        save(tmp_path / f"{i}.png", i)
    (tmp_path / "list.csv").write_text("path,label,class_name\n0.png,0,cat\n1.png,1,\n")
    (tmp_path / "classes.csv").write_text("file,class\n0.png,dog\n1.png,owl\n")
    dataset = pack(PackConfig(tmp_path / "list.csv", tmp_path / "out", classes=tmp_path / "classes.csv", num_workers=1))
    assert classes(dataset) == {"0.png": "cat", "1.png": "owl"}


def test_missing_list_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"classes is .*: no such file"):
        PackConfig(genimage(tmp_path / "src"), tmp_path / "out", classes=tmp_path / "val.txt")
