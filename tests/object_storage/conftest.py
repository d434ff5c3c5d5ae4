"""An S3 server for all tests of this folder, which run only when they are asked for: `make test-s3`."""

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cache_schema import ObjectPath
from tests.object_storage.bucket import Bucket
from tests.object_storage.proxy import Proxy
from tests.object_storage.swift import Swift


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect these tests unless the marker is named: they need an environment of their own."""
    here = Path(__file__).parent
    ours = [item for item in items if here in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.s3)
    words = config.option.markexpr.split()
    if ours and ("s3" not in words or words[max(0, words.index("s3") - 1)] == "not"):
        items[:] = [item for item in items if item not in ours]
        config.hook.pytest_deselected(items=ours)


@pytest.fixture(scope="session")
def swift() -> Iterator[Swift]:
    folder = Path(tempfile.mkdtemp(prefix="lare-swift-"))
    try:
        with Swift(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def bucket(swift: Swift, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bucket:
    """A new bucket; this process and those that it starts speak to its server."""
    for name, value in swift.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LARE_CACHE_DIR", str(tmp_path / "copies"))
    monkeypatch.setenv("LARE_STORAGE_RETRY_SEC", "20")
    monkeypatch.setenv("LARE_STORAGE_SILENT_SEC", "5")
    made = Bucket(swift, f"b{secrets.token_hex(8)}")
    made.create()
    return made


@pytest.fixture
def root(bucket: Bucket) -> ObjectPath:
    """A folder in it."""
    return ObjectPath("s3", bucket.name, "some where/ß")


@pytest.fixture
def proxied(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the server, which this process and those that it starts speak to from now on."""
    monkeypatch.setattr("cache_schema.object_clients._clients", {})
    with Proxy(bucket.swift.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.fixture
def upload(bucket: Bucket) -> Callable[[Path, ObjectPath], None]:
    """What brings a folder of this machine to a place in the bucket, past all code of ours."""

    def copy(folder: Path, target: ObjectPath) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                bucket.write(f"{target.key}/{path.relative_to(folder)}", path.read_bytes())

    return copy
