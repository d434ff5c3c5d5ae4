"""The public names: all there, loaded when they are used, each from the module that type checkers are told."""

import ast
from pathlib import Path

import pytest

import train
from tests.test_imports import TRAINING, loaded_after
from train.data.datamodule import LareDataModule
from train.model import LareClassifier
from workflow.code_hash import _resolve


def told_imports() -> dict[str, str]:
    """Public name → module, by the imports that only type checkers and `workflow.code_hash` read."""
    tree = ast.parse(Path(train.__file__).read_text(encoding="utf-8"))
    return {
        alias.name: node.module.removeprefix("train.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("train.")
        for alias in node.names
    }


def test_every_name_is_there_and_told_in_all_three_places() -> None:
    assert len(set(train.__all__)) == len(train.__all__)
    assert told_imports() == train._MODULE_OF and set(train._MODULE_OF) == set(train.__all__)
    for name in train.__all__:
        assert getattr(train, name) is not None and name in dir(train)
    assert train.LareClassifier is LareClassifier and train.LareDataModule is LareDataModule


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'train' has no attribute 'nothing'"):
        _ = train.nothing  # type: ignore[attr-defined]


def test_importing_the_package_is_light_and_a_name_loads_what_it_needs() -> None:
    assert loaded_after("import train", "torch", "pyarrow", *TRAINING) == set()
    assert loaded_after("from train import evaluate, load_reading, TITLES", *TRAINING) == set()


def test_the_hash_of_a_steps_code_follows_a_public_name_to_its_module() -> None:
    assert {name: list(_resolve("train", name)) for name in train.__all__} == {
        name: [f"train.{module}"] for name, module in told_imports().items()
    }
