"""The documentation site: it builds without a warning, and a page loads nothing from the network."""

import os
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}


class Loads(HTMLParser):
    """What a page loads when it is opened; links that a reader may follow are no part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        address = values.get(LOADED.get(tag, ""))
        if address:
            self.found.append(address)
        self.found.extend(re.findall(r"url\(['\"]?([^)'\"]+)", values.get("style") or ""))


def documented_names(inventory: Path) -> list[str]:
    """The full names of what the Python API's pages document, by the site's inventory: four lines, then zlib."""
    lines = zlib.decompress(inventory.read_bytes().split(b"\n", 4)[4]).decode().splitlines()
    return [line.split()[0] for line in lines]


@pytest.mark.slow
def test_site_builds_strictly_and_loads_nothing_from_the_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= 15
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        outside = [address for address in loads.found if re.match(r"(https?:)?//", address)]
        assert loads.found, page
        assert not outside, f"{page.name} loads {outside}"
    for sheet in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet
    assert (tmp_path / "site" / "search" / "search_index.js").stat().st_size > 10_000
    named = {name.rpartition(".")[2] for name in documented_names(tmp_path / "site" / "objects.inv")}
    for package in ("cache_schema", "extract", "train", "detect"):
        public = set(getattr(import_module(package), "__all__", ()))
        assert public <= named, f"{package}: {sorted(public - named)} are on no page of docs/api"
