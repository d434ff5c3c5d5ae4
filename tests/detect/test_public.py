"""The public names: all there, loaded when they are used, each from the module that type checkers are told."""

import ast
from pathlib import Path

import pytest

import detect
from tests.test_imports import loaded_after


def test_every_name_is_there_and_told_in_all_three_places() -> None:
    tree = ast.parse(Path(detect.__file__).read_text(encoding="utf-8"))
    told = {
        alias.name: node.module.removeprefix("detect.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("detect.")
        for alias in node.names
    }
    assert told == detect._MODULE_OF and set(detect._MODULE_OF) == set(detect.__all__)
    for name in detect.__all__:
        assert getattr(detect, name) is not None and name in dir(detect)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'detect' has no attribute 'nothing'"):
        _ = detect.nothing  # type: ignore[attr-defined]


def test_the_words_of_a_verdict_load_no_torch() -> None:
    assert loaded_after("from detect import Verdict, Note, Answer, Picture", "torch", "diffusers", "lightning") == set()
