"""Names of pictures as text, and as names of files."""

import os

import pytest

from detect.files.names import columns_of, escape_name, file_stem, shorten_middle, show_name, unescape_name

HOSTILE = [
    *("a.jpg", "with, comma.jpg", 'quote".jpg', "two\nlines.jpg", "tab\t.jpg", "back\\slash.jpg", "back\\x0aslash.jpg"),
    *(
        os.fsdecode(b"latin-\xe9.jpg"),
        os.fsdecode(b"\xff\xfe"),
        "\x1b[31mred.jpg",
        "\x85.jpg",
        "\u2028.jpg",
        "写真.jpg",
    ),
    *("\u202egpj.exe", "emoji 😀.png", "", "\\", "\\\\x41", "a\0b"),
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_escaped_names_are_one_line_of_utf8_and_come_back(name: str) -> None:
    escaped = escape_name(name)
    escaped.encode("utf-8", "strict")
    assert len(escaped.splitlines()) <= 1
    assert unescape_name(escaped) == name


def test_escapes_are_bytes() -> None:
    assert escape_name(os.fsdecode(b"caf\xe9\n\\.jpg")) == r"caf\xe9\x0a\\.jpg"
    assert escape_name("café 写真.jpg") == "café 写真.jpg"
    assert len({escape_name(name) for name in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_nothing_that_is_shown_moves_the_cursor(name: str) -> None:
    assert show_name(name).isprintable()


def test_long_names_lose_their_middle() -> None:
    assert shorten_middle("holiday/2024/IMG_0017.jpg", 14) == "holi…_0017.jpg"
    assert shorten_middle("short.jpg", 9) == "short.jpg"
    for num in range(1, 30):
        assert columns_of(show_name("写真写真写真写真写真写真/a.jpg", num)) <= num


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_files_are_named_safely(name: str) -> None:
    for place in (name, f"../../{name}", f"/etc/{name}", f"{name}/..", name * 100):
        stem = file_stem(place)
        assert stem and "/" not in stem and "\\" not in stem and "\0" not in stem
        assert stem.isprintable() and stem[0] not in ".-" and len(stem.encode()) <= 140


def test_pictures_never_share_a_file() -> None:
    names = [*HOSTILE, "a/b.jpg", "a_b.jpg", "c/b.jpg", "b.jpg", ".b.jpg", "_b.jpg", "-b.jpg", "..", ".", "x" * 300]
    names += ["x" * 301, "/b.jpg", "a//b.jpg"]
    assert len({file_stem(name) for name in names}) == len(names)
    assert file_stem("IMG_0017.jpg") == "IMG_0017.jpg"
    assert file_stem("holiday/IMG_0017.jpg").startswith("IMG_0017.jpg-")
    assert file_stem("holiday/IMG_0017.jpg") == file_stem("holiday/IMG_0017.jpg")
