import pytest

from cache_schema import sample_key, source_path, store_name, tar_name
from cache_schema.keys import parse_tar_name

PATHS = [
    "real/n01440764_11602.JPEG",
    "a.b/c.d.e.png",
    "100%.png",
    "%2E.png",
    "no-extension",
    "new\nline.png",
    "dossier/é.png",
    "日本/写真.jpg",
    "\x85next-line.png",
]


@pytest.mark.parametrize("path", PATHS)
def test_key_is_reversible(path: str) -> None:
    assert source_path(sample_key(path)) == path


def test_key_has_the_written_out_form() -> None:
    assert sample_key("a.b/c%d.e\n.PNG") == "a.b/c%25d%2Ee%0A%2EPNG"


def test_key_is_one_to_one() -> None:
    assert len({sample_key(p) for p in [*PATHS, "a/b.png", "a/b%2Epng", "a.b/png"]}) == len(PATHS) + 3


def test_key_uses_nfc() -> None:
    assert sample_key("e\u0301.png") == sample_key("\u00e9.png")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../up.png", "a/../b.png", "a//b.png", "a/.", "a\\b.png", "a\0b"])
def test_key_refuses_paths_that_leave_the_root(path: str) -> None:
    with pytest.raises(ValueError, match="no path below a root"):
        sample_key(path)


@pytest.mark.parametrize("key", ["a.png", "a%2epng", "a%41", "", "x/../y"])
def test_source_path_refuses_what_is_no_key(key: str) -> None:
    with pytest.raises(ValueError, match=r"not the key of any path|no path below a root"):
        source_path(key)


def test_tar_and_store_names_belong_together() -> None:
    assert tar_name("train", 12) == "train-000012.tar"
    assert parse_tar_name("validation-1234567.tar") == ("validation", 1234567)
    assert store_name("test-000003.tar") == "test-000003.zarr.zip"


@pytest.mark.parametrize("name", ["../train-000000.tar", "train-0.tar", "val-000000.tar", "train-000000.tar.gz"])
def test_tar_name_refuses_others(name: str) -> None:
    with pytest.raises(ValueError, match="is no tar name"):
        store_name(name)
