"""Places: what is an address and what is a path, and that nothing of object storage is loaded for paths."""

import subprocess
import sys
from pathlib import Path

import pytest

from cache_schema import ObjectPath, is_address, local, place
from cache_schema.object_errors import explain
from cache_schema.program import expand_home


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("S3://bucket", "s3://bucket"),
        ("gs://bucket/a b/ß", "gs://bucket/a b/ß"),
        ("az://container/a", "az://container/a"),
        (Path("s3://bucket/a"), "s3://bucket/a"),
    ],
)
def test_addresses_are_places_in_object_storage(text: str | Path, expected: str) -> None:
    found = place(text)
    assert isinstance(found, ObjectPath)
    assert str(found) == expected
    assert place(found) is found
    assert is_address(text)


@pytest.mark.parametrize("text", ["data", "/data/s3:", "./s3", "~/x", "C:/data", "http://host/a", "s3", "a/s3://b/c"])
def test_all_else_is_a_path(text: str) -> None:
    assert place(text) == Path(text)
    assert not is_address(text)


@pytest.mark.parametrize("text", ["s3://KEY:SECRET@bucket/a", "s3:///a", "s3://b/a?token=SECRET", "s3://b/a#SECRET"])
def test_an_address_of_another_form_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="is not of the form s3://bucket/folder") as caught:
        place(text)
    assert "SECRET" not in str(caught.value)


def test_names_below_a_place() -> None:
    folder = place("s3://bucket/a")
    assert isinstance(folder, ObjectPath)
    assert (str(folder / "b/c"), (folder / "b").name, folder.parent.key) == ("s3://bucket/a/b/c", "b", "")
    assert str((folder / "b").with_name("c")) == "s3://bucket/a/c"
    for name in ("..", "b/../c", "", "/b", "b//c", "."):
        with pytest.raises(ValueError, match="is no name of an object"):
            folder / name


def test_a_place_is_no_path_for_code_that_knows_files_alone() -> None:
    found = place("s3://bucket/a")
    with pytest.raises(TypeError):
        open(found)  # type: ignore[call-overload]  # noqa: SIM115
    with pytest.raises(TypeError):
        Path(found)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="data is s3://bucket/a: expected a folder or file of this machine"):
        local(found, "data")


def test_settings_take_addresses_where_it_is_said() -> None:
    assert expand_home({"data": ["s3://b/a"]}, addresses=True) == {"data": ["s3://b/a"]}
    for value in ("s3://b/a", Path("s3://b/a"), ["x", "gs://b"], {"out": ("az://b/a",)}):
        with pytest.raises(ValueError, match="is in object storage: this setting takes a folder or file of this"):
            expand_home(value)


def test_what_a_service_says_is_told_without_the_request() -> None:
    text = (
        "Server returned non-2xx status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><Message>No "
        "match.</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId><StringToSign>secret</StringToSign></Error>"
    )
    assert explain(text, "s3").startswith("the service said 403 Forbidden: SignatureDoesNotMatch: No match. Check AWS_")
    assert explain("Error performing PUT http://169.254.169.254/latest - refused", "s3").startswith("no credentials")
    told = explain("Error performing GET http://h/b?sig=SECRET in 1s, after 3 retries - HTTP error: timed out\nx", "az")
    assert told == "no answer at 4 tries (HTTP error: timed out). Check the network and AZURE_STORAGE_ENDPOINT."


def test_nothing_of_object_storage_is_loaded_for_folders_of_this_machine(tmp_path: Path) -> None:
    code = (
        "import sys; from cache_schema.__main__ import main; "
        f"main(['status', '--data', {str(tmp_path)!r}, '--cache', {str(tmp_path)!r}]); "
        "sys.exit(17 if 'obstore' in sys.modules else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
