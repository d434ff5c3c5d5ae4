"""Text of strangers is shown as text: on terminals and in logs, in CSV cells, in Markdown."""

import csv
import io
import json
import logging
import shutil
import threading
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from cache_schema import (
    REJECTED_SCHEMA,
    Cache,
    CacheError,
    Dataset,
    DatasetError,
    as_markdown,
    guard_cell,
    read_rejected,
    reason_kind,
    shown,
    shown_lines,
    unguard_cell,
    write_rejected,
)
from cache_schema.__main__ import main
from cache_schema.program import OneSentence, ShownFormatter, run_program
from tests.cache_schema.conftest import NAME, rewrite

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
HOSTILE = f"a{ESCAPE}\u202eb\r\n\udcff"
FORMULAS = ["=1+1", "+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1", "''=1", "-5"]
PLAIN = ["", "a", "'a", "a=b", "a-b.png", "real/a.png", " =1", "'"]


def test_what_is_invisible_becomes_an_escape_on_one_line() -> None:
    assert shown(HOSTILE) == r"a\x1b]0;owned\x07\x1b[2J\u202eb\r\n\udcff"
    assert shown("é 写真\u3000\u00a0😀.png") == "é 写真\u3000\u00a0😀.png"
    assert shown("\x85\u2028\u2066\U000e0001\ufeff") == r"\x85\u2028\u2066\U000e0001\ufeff"
    assert shown_lines(f"a:\n\t{HOSTILE}") == "a:\n\ta\\x1b]0;owned\\x07\\x1b[2J\\u202eb\\r\n\\udcff"


@pytest.mark.parametrize("text", ["x" * 10**7, "\x1b" * 10**7, "a" + "\u0301" * 10**6])
def test_a_long_text_loses_its_middle(text: str) -> None:
    assert len(shown(text)) <= 300 and len(shown(text, 10)) <= 10 and "…" in shown(text)
    assert shown("0123456789", 10) == "0123456789" and shown("0123456789a", 10) == "012345…89a"


@pytest.mark.parametrize("text", FORMULAS + PLAIN, ids=ascii)
def test_a_cell_that_would_be_computed_is_guarded_and_comes_back(text: str) -> None:
    cell = guard_cell(text)
    assert cell == (f"'{text}" if text in FORMULAS else text)
    assert unguard_cell(cell) == text


def test_rejected_files_come_back_from_cells_that_no_spreadsheet_computes(tmp_path: Path) -> None:
    texts = [*FORMULAS, *PLAIN, 'q"u,o', ESCAPE]
    table = pa.table([texts, [f"{text} why" for text in texts]], schema=REJECTED_SCHEMA)
    write_rejected(tmp_path / "r.csv", table)
    assert read_rejected(tmp_path / "r.csv") == table
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.reader(file):
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in row)
    assert read_rejected(tmp_path / "none.csv") is None


class Heard(io.BytesIO):
    threads: ClassVar[set[int]] = set()

    def read(self, size: int | None = -1, /) -> bytes:
        self.threads.add(threading.get_ident())
        return super().read(size)


def test_no_thread_of_pyarrow_reads_rejected_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lets go of Python's file later: a program that ended just then would abort."""
    write_rejected(tmp_path / "r.csv", pa.Table.from_pylist([{"path": "a", "reason": "b"}], schema=REJECTED_SCHEMA))
    monkeypatch.setattr("cache_schema.rejected.open_plain", lambda path: Heard(path.read_bytes()))
    assert len(read_rejected(tmp_path / "r.csv") or []) == 1
    assert Heard.threads == {threading.get_ident()}


@pytest.mark.parametrize("data", [b"", b"a\n1\n", b"path\n1\n", b"path,reason\n1,2,3\n", b"path,reason\n\xff,2\n"])
def test_a_list_of_rejected_files_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "r.csv").write_bytes(data)
    with pytest.raises(DatasetError, match=r"r\.csv cannot be read"):
        read_rejected(tmp_path / "r.csv")


def test_markdown_takes_nothing_in_a_name_for_a_mark() -> None:
    assert as_markdown("a|b `c` *d* [e](https://f) <g> ~h~ \\i\nj") == (
        r"a\|b \`c\` \*d\* \[e](https&#58;//f) &lt;g> \~h\~ \\i j"
    )
    assert as_markdown("_a_ sd_v1_5 &lt; R&D www.x @y -5") == r"\_a\_ sd_v1_5 &amp;lt; R&D www&#46;x &#64;y -5"
    assert as_markdown("# a") == r"\# a" and as_markdown("> a") == r"\> a" and as_markdown(ESCAPE).isprintable()


def test_an_error_and_the_log_show_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise CacheError(f"{HOSTILE}: no cache\n  line")

    monkeypatch.setenv("LARE_DEBUG", "1")
    assert run_program(fail) == 1
    with pytest.raises(SystemExit):
        OneSentence().error(HOSTILE)
    error = capsys.readouterr().err
    assert "\x1b" not in error and "\u202e" not in error and "\n  line\n" in error
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s", (HOSTILE,), None)
    assert ShownFormatter("%(message)s").format(record) == shown_lines(HOSTILE)


def test_a_reason_is_bounded() -> None:
    assert reason_kind("broken \x1b[31m at 5") == r"broken \x1b[#m at #"
    assert len(reason_kind("x" * 10**7)) <= 300


def poison(entries: dict[str, bytes]) -> None:
    """Attributes with escape sequences in a name, a reason and a number."""
    metadata = json.loads(entries["zarr.json"])
    metadata["attributes"] |= {"tar": HOSTILE[:-1], ESCAPE: {ESCAPE: "\u202e"}}
    entries["zarr.json"] = json.dumps(metadata).encode()


@pytest.mark.parametrize("command", ["status", "verify", "info", "info-store"])
def test_commands_around_a_cache_show_it(
    command: str, cache: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in cache.shards():
        rewrite(cache.folder / name, poison)
    shutil.copy(cache.folder / NAME, cache.folder / f"{ESCAPE}\u202e\nx.zarr.zip")
    places = ["--data", str(dataset.folder), "--cache", str(cache.folder)]
    arguments = {"info": [str(cache.folder)], "info-store": [str(cache.folder / NAME)]}.get(command, places)
    main([command.partition("-")[0], *arguments])
    out = capsys.readouterr().out
    assert "\\x1b" in out and all(line.isprintable() for line in out.splitlines()), out
