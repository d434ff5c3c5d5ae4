"""A hash over the code that decides an outcome: the modules that a command imports, without comments and docstrings."""

import ast
import hashlib
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""Folder of the project's packages, where others may lie as well: they are installed there."""
PACKAGES = ("cache_schema", "extract", "train", "detect", "workflow", "demo", "experiments", "bench")
"""The project's own."""


_PARSING = threading.RLock()
"""CPython 3.11 counts the depth of syntax trees for all threads together, and fails where two of them parse at once."""


def hash_code(*modules: str) -> str:
    """SHA-256 over modules and every module of the project that they import, directly or not.

    An import inside a function counts. Comments, docstrings and layout do not. A name that a package hands on counts as
    an import of the module that the package takes it from, and not of the whole package.

    Args:
        modules: Dotted names.

    Raises:
        ModuleNotFoundError: If the project has no such module: its absence must not look like a module without a line.
    """
    digest = hashlib.sha256()
    with _PARSING:
        for name in sorted(imported_modules(*modules)):
            digest.update(f"{name}\0{_code_of(name)}\0".encode())
    return digest.hexdigest()


def imported_modules(*modules: str) -> set[str]:
    """The modules themselves and the project's modules that they import, directly or not.

    Raises:
        ModuleNotFoundError: If the project has no such module.
    """
    found, todo = set[str](), list(modules)
    with _PARSING:
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += _imports_of(name)
    return found


def _find_file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


@cache
def _parse(name: str) -> ast.Module:
    file = _find_file(name)
    if file is None:
        raise ModuleNotFoundError(f"there is no module {name} below {ROOT}: was it moved?")
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _code_of(name: str) -> str:
    # Strings that stand alone are documentation: docstrings, and those under the fields of a dataclass.
    tree = ast.parse(ast.unparse(_parse(name)))
    for node in ast.walk(tree):
        for body in (getattr(node, "body", None), getattr(node, "orelse", None)):
            if isinstance(body, list) and body:
                body[:] = [line for line in body if not _is_text(line)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _imports_of(name: str) -> frozenset[str]:
    imported = set[str]()
    for node in ast.walk(_parse(name)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names if _is_ours(alias.name) and _find_file(alias.name)}
        elif isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
            imported |= {found for alias in node.names for found in _resolve(node.module, alias.name)}
    return frozenset(imported)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES


def _resolve(module: str, name: str) -> Iterator[str]:
    """The module that `from module import name` takes the name from."""
    if _find_file(f"{module}.{name}"):
        yield f"{module}.{name}"
        return
    file = _find_file(module)
    if file is not None and file.name == "__init__.py":
        for node in ast.walk(_parse(module)):
            if isinstance(node, ast.ImportFrom) and node.module and name in (alias.name for alias in node.names):
                yield from _resolve(node.module, name)
                return
    yield module
