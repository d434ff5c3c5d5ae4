"""The public names: all there, loaded when they are used, each from the module that type checkers are told."""

import ast
from pathlib import Path

import pytest

import extract
from tests.test_imports import loaded_after
from workflow.code_hash import _resolve


def told_imports() -> dict[str, str]:
    """Public name → module, by the imports that only type checkers and `workflow.code_hash` read."""
    tree = ast.parse(Path(extract.__file__).read_text(encoding="utf-8"))
    return {
        alias.name: node.module.removeprefix("extract.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("extract.")
        for alias in node.names
    }


def test_every_name_is_there_and_told_in_all_three_places() -> None:
    assert len(set(extract.__all__)) == len(extract.__all__)
    assert told_imports() == extract._MODULE_OF and set(extract._MODULE_OF) == set(extract.__all__)
    for name in extract.__all__:
        assert getattr(extract, name) is not None and name in dir(extract)


def test_names_are_sorted() -> None:
    def order(name: str) -> tuple[int, str]:  # ruff's: constants, classes, functions
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert extract.__all__ == sorted(extract.__all__, key=order)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'extract' has no attribute 'nothing'"):
        _ = extract.nothing  # type: ignore[attr-defined]


def test_importing_the_package_or_its_settings_loads_no_torch() -> None:
    heavy = ("torch", "diffusers", "transformers")
    assert loaded_after("import extract", *heavy) == set()
    light = "ExtractConfig, LaunchConfig, PackConfig, WatchConfig, ImportConfig, sample_noise, pack, CopyRule"
    assert loaded_after(f"from extract import {light}", *heavy) == set()


def test_the_hash_of_a_steps_code_follows_a_public_name_to_its_module() -> None:
    assert {name: list(_resolve("extract", name)) for name in extract.__all__} == {
        name: [f"extract.{module}"] for name, module in told_imports().items()
    }
