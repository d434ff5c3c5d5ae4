"""The public names of `cache_schema`: complete, sorted, and all that other packages take."""

import ast
from pathlib import Path

import cache_schema

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("cache_schema.__main__", "cache_schema.program")
"""What runs commands: taken by those that do so."""


def test_every_public_name_is_there() -> None:
    for name in cache_schema.__all__:
        assert getattr(cache_schema, name) is not None
    assert len(set(cache_schema.__all__)) == len(cache_schema.__all__)


def test_public_names_are_those_that_the_package_imports_in_order() -> None:
    """Constants, then classes, then functions, each by the alphabet."""
    tree = ast.parse(Path(cache_schema.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(cache_schema.__all__)
    order = [(not name.isupper(), not name[0].isupper(), name) for name in cache_schema.__all__]
    assert order == sorted(order)


def test_other_packages_take_public_names_only() -> None:
    wrong = []
    for package in ("extract", "train", "detect", "workflow", "demo", "experiments", "bench"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cache_schema"):
                    taken = {alias.name for alias in node.names} - set(cache_schema.__all__)
                    if node.module not in COMMANDS and (node.module != "cache_schema" or taken):
                        wrong.append(f"{file.relative_to(ROOT)}: from {node.module} import {', '.join(sorted(taken))}")
                elif isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names if alias.name.startswith("cache_schema.")]
                    wrong += [f"{file.relative_to(ROOT)}: import {name}" for name in names if name not in COMMANDS]
    assert wrong == []
