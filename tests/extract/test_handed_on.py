"""What is handed on, datasets and caches, holds no path, host or user of the machine that made it."""

import getpass
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cache_schema import Fingerprint, base_names, derive_cache, open_cache
from extract.__main__ import main
from tests.extract.conftest import Run, make_images

HOST, USER = "host-of-somebody", "name-of-somebody"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that everything happens in, on a machine and by a person with names that can be looked for."""
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.setattr(getpass, "getuser", lambda: USER)
    for name in ("USER", "LOGNAME", "HOSTNAME", "SLURMD_NODENAME"):
        monkeypatch.setenv(name, HOST if "NAME" in name and name != "LOGNAME" else USER)
    return tmp_path


def told(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file's name with all that it says, tables decoded."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield path.name, f"{table.to_pylist()} {table.schema.metadata}"
        elif path.is_file():
            yield path.name, path.read_bytes().decode("latin-1")


def test_datasets_and_caches_name_nothing_of_their_machine(place: Path, run: Run) -> None:
    for kind in ("real", "toy"):
        (place / "pictures" / kind).mkdir(parents=True)
        for i, image in enumerate(make_images(4)):
            (place / "pictures" / kind / f"{i}.png").write_bytes(image + kind.encode())
    (place / "pictures" / "toy" / "broken.png").write_bytes(b"no picture")
    assert main(["pack", f"--src={place / 'pictures'}", f"--out={place / 'data'}", "--num_workers=1"]) == 0
    assert run() == 0
    small = derive_cache(open_cache(place / "cache"), place / "small", mantissa_bits=7)
    assert {store.state for store in small} == {"written"}
    seen = set()
    for folder in ("data", "cache", "small"):
        for name, text in told(place / folder):
            assert str(place) not in text and HOST not in text and USER not in text, name
            seen.add(name)
    assert {"dataset.json", "index.parquet", "rejected.csv", "cache.json", "train-000000.zarr.zip"} <= seen
    cache = open_cache(place / "cache")
    settings = cache.attributes("train-000000.zarr.zip")["provenance"]["settings"]
    assert (settings["data"], settings["cache"], settings["model"]) == ("data", "cache", "sd")
    assert (
        Fingerprint(cache.fields).hexdigest == json.loads((place / "cache" / "cache.json").read_text())["fingerprint"]
    )


def test_hub_ids_stay_and_paths_become_names(place: Path) -> None:
    settings = {
        "model": "owner/name",
        "vae": str(place / "vae"),
        "data": "a/b",
        "more": {"data": ["x/y", 3], "home": "~/secret/z", "up": "../../w", "size": 1, "none": None},
        "file": place / "f",
    }
    assert base_names(settings, ("data",)) == {
        "model": "owner/name",
        "vae": "vae",
        "data": "b",
        "more": {"data": ["y", 3], "home": "z", "up": "w", "size": 1, "none": None},
        "file": "f",
    }
