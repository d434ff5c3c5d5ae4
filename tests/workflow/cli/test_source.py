from pathlib import Path

import pytest

from workflow.cli.source import Setting, first_sentence, read_settings

SOURCE = '''"""A module. With more."""
from dataclasses import dataclass, field
from typing import Literal
from pathlib import Path

Kind = Literal["one", "two"]
SIZE = 7

@dataclass(frozen=True)
class Inner:
    """Inside."""
    seed: int = 3
    """A seed. It matters."""

class Other:
    def __init__(self, size: int = SIZE, *, names: list[str] | None = None, **more: int) -> None:
        """Make it.

        Args:
            size: In px,
                two lines.
            names: Of things.
            more: Not told.
        """

@dataclass(frozen=True)
class Base:
    data: str
    """Folder."""
    kind: Kind = "one"
    """Which."""

@dataclass(frozen=True)
class Config(Base):
    """Settings of it."""
    kind: Kind = "two"
    """Which one."""
    inner: Inner = field(default_factory=Inner)
    """Not told."""
    out: Path = Path("runs/x")
    rows: tuple[int, ...] = (1, 2)
    most: int = 2**30

def call(data: str, num: float = 0.5) -> None:
    """Do it.

    Args:
        data (str): Folder.
        num: A number.

    Raises:
        ValueError: Never.
    """

def command(parser):
    def late():
        from other import elsewhere
    parser.add_argument("--config", action="config")
    parser.add_argument("store", help="a store")
    parser.add_argument("--mantissa-bits", type=int, default=4)
    _add_more(parser, required=True)

def _add_more(parser, *, required):
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--readings", nargs="+", required=required, help="files")
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "up.py").write_text(SOURCE)
    (tmp_path / "other.py").write_text("def elsewhere(x: int) -> None:\n    '''Far away.'''\n")
    return tmp_path


def read(place: str, root: Path) -> dict[str, Setting]:
    return {setting.name: setting for setting in read_settings(place, root=root)}


def test_fields_of_a_dataclass_come_with_those_of_bases_and_parts(root: Path) -> None:
    found = read("made.up:Config", root)
    assert list(found) == ["data", "kind", "inner.seed", "out", "rows", "most"]
    assert found["data"].is_required and not found["kind"].is_required
    assert found["kind"].default == "two" and found["kind"].choices == ("one", "two")
    assert (found["inner.seed"].default, found["inner.seed"].text) == ("3", "A seed. It matters.")
    assert [found[name].default for name in ("out", "rows", "most")] == ["runs/x", "[1, 2]", "2 ** 30"]
    assert found["rows"].is_list_only and not found["data"].is_list


def test_arguments_of_a_class_and_of_a_function_come_with_their_docstring(root: Path) -> None:
    found = read("made.up:Other", root)
    assert {name: setting.text for name, setting in found.items()} == {
        "size": "In px, two lines.",
        "names": "Of things.",
    }
    assert found["size"].default == "7" and found["names"].is_list_only
    found = read("made.up:call", root)
    assert found["data"].is_required and found["data"].text == "Folder." and found["num"].kind == "float"
    assert list(read("made.up:elsewhere", root)) == ["x"]  # imported inside a function
    assert [s.name for s in read_settings("made.up:call", "data.", root)] == ["data.data", "data.num"]


def test_arguments_that_a_function_adds_to_a_parser_are_found(root: Path) -> None:
    found = read("made.up:command", root)
    assert list(found) == ["store", "mantissa_bits", "json", "readings"]
    assert found["store"].is_positional and found["store"].is_required
    assert found["json"].is_switch and found["readings"].takes_words and found["readings"].is_required
    assert (found["mantissa_bits"].kind, found["mantissa_bits"].default) == ("int", "4")


def test_what_is_not_there_is_an_error(root: Path) -> None:
    for place in ("made.up:nothing", "made.up:SIZE"):
        with pytest.raises(LookupError):
            read_settings(place, root=root)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("A thing. Another.", "A thing."),
        ("Of 1 … 100; all.\nMore.", "Of 1 … 100; all."),
        ("e.g. this one", "e.g. this one"),
        ("No stop", "No stop"),
        ("In index.json at v1.5. Then", "In index.json at v1.5."),
    ],
)
def test_first_sentences(text: str, first: str) -> None:
    assert first_sentence(text) == first
