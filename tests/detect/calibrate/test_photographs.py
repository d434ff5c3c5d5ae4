"""Which photographs a command's words mean, and which of them belong together."""

from pathlib import Path

import pytest

from cache_schema import write_dataset
from detect.calibrate.photographs import PhotographSource
from tests.detect.conftest import Made
from tests.extract.conftest import make_images
from tests.samples import make_sample


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, number in (("a/1.png", 0), ("a/2.png", 1), ("b/3.png", 2)):
        (tmp_path / "photos" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / place).write_bytes(make_images(3)[number])
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return tmp_path / "photos"


def test_each_file_of_a_folder_is_a_group_of_its_own(folder: Path) -> None:
    source = PhotographSource([str(folder)], "file")
    assert [(Path(one.picture.name).name, one.group) for one in source] == [
        ("1.png", None),
        ("2.png", None),
        ("3.png", None),
    ]
    assert [str(skipped) for skipped in source.skipped] == ["1 other file: 1 .txt"]
    assert source.num_photographs is None and source.dataset_id is None


def test_each_folder_is_a_group_on_request_however_it_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [one.group for one in PhotographSource([str(folder)], "folder")]
    assert groups == [str(folder / "a"), str(folder / "a"), str(folder / "b")]
    monkeypatch.chdir(folder)
    assert [one.group for one in PhotographSource(["a/1.png", "a", "b/3.png"], "folder")] == [groups[0], *groups]


def test_of_a_dataset_only_photographs_of_training_and_validation(made: Made) -> None:
    for group_by in ("file", "folder"):
        source = PhotographSource([str(made.data)], group_by)  # type: ignore[arg-type]
        rows = [row for n in range(len(made.dataset.tars)) for row in made.dataset.rows(n).to_pylist()]
        wanted = {row["key"]: row["group"] for row in rows if row["label"] == 0 and row["split"] != "test"}
        assert len(wanted) == 20 == source.num_photographs
        found = {one.picture.name: one.group for one in source}
        assert found == {key: f"{made.dataset.dataset_id} {group}" for key, group in wanted.items()}
        assert all(one.picture.sample_key == one.picture.name for one in source)
        assert source.dataset_id == made.dataset.dataset_id


def test_a_dataset_beside_other_photographs(made: Made, folder: Path) -> None:
    source = PhotographSource([str(made.data), str(folder / "b" / "3.png")], "file")
    assert source.dataset_id is None and source.num_photographs == 21 == len([*source])


def test_what_holds_no_photographs_is_refused(tmp_path: Path) -> None:
    samples = [make_sample(i, split="test" if i % 2 == 0 else "train") for i in range(6)]
    write_dataset(tmp_path / "data", samples, {"made_by": "a test"})
    with pytest.raises(ValueError, match="has no photographs of train or validation: test samples are never used"):
        PhotographSource([str(tmp_path / "data")], "file")
    with pytest.raises(FileNotFoundError):
        PhotographSource([str(tmp_path / "gone")], "file")
