"""Settings of a command, read from source without importing it: dataclasses, signatures and parsers' arguments.

Importing the commands takes seconds, because of torch. Help and a misspelt flag must not.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from workflow.code_hash import ROOT

NOTHING: Mapping[str, ast.expr] = {}
Definition = ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Setting:
    """One setting, which a flag sets."""

    name: str
    """As in the flag after `--`: "timestep", "data.cache"."""
    kind: str = "str"
    """Its type as the source writes it, with names of types resolved: "int", "Literal['a', 'b'] | None"."""
    default: str | None = None
    """As a person writes it; None: it has none that is worth showing."""
    text: str = ""
    """What it means, the first sentence first."""
    is_required: bool = False
    """Whether the command refuses to run without it."""
    is_switch: bool = False
    """Whether its flag stands without a value (`store_true`)."""
    takes_words: bool = False
    """Whether its flag is followed by any number of values (`nargs`)."""
    is_positional: bool = False
    """Whether its value stands without a flag."""

    @property
    def choices(self) -> tuple[str, ...]:
        """Values of a Literal."""
        found = re.search(r"Literal\[([^]]*)\]", self.kind)
        return tuple(item.strip(" '\"") for item in found[1].split(",")) if found else ()

    @property
    def is_bool(self) -> bool:
        """Whether true and false are values."""
        return "bool" in self.kind

    @property
    def is_list(self) -> bool:
        """Whether several values are one value of it."""
        return bool(re.search(r"\b(list|tuple|Sequence)\[", self.kind))

    @property
    def is_list_only(self) -> bool:
        """Whether a single value must be a list too."""
        parts = _split_union(self.kind)
        return self.is_list and all(re.match(r"(list|tuple|Sequence)\[|None$", part) for part in parts)


def read_settings(place: str, prefix: str = "", root: Path = ROOT) -> list[Setting]:
    """Settings that a class or function declares.

    Args:
        place: "package.module:Name" of a dataclass (its fields), another class (arguments of `__init__`), a function
            that calls `add_argument` (these arguments) or another function (its own arguments).
        prefix: Put before every name, "data.".
        root: Folder of the packages.

    Raises:
        LookupError: If the source has no such name.
    """
    module, _, name = place.partition(":")
    where, node = _find(module, name, root)
    if isinstance(node, ast.ClassDef) and _is_dataclass(node):
        found = list(_fields(where, node, root))
    elif isinstance(node, ast.ClassDef):
        inits = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
        if not inits:
            raise LookupError(f"{place} has no __init__")
        found = list(_parameters(where, inits[0], _documented(node) | _documented(inits[0]), root))
    elif isinstance(node, ast.FunctionDef):
        found = _added(where, node, root) or list(_parameters(where, node, _documented(node), root))
    else:
        raise LookupError(f"{place} is neither a class nor a function")
    return [replace(setting, name=prefix + setting.name) for setting in found]


def first_sentence(text: str) -> str:
    """Text up to its first full stop that a space or the end follows, on one line."""
    text = " ".join(text.split())
    found = re.match(r"(.+?\.)(?:\s+[A-Z`0-9]|$)", text)
    return found[1] if found else text


@cache
def _parse(module: str, root: Path) -> ast.Module:
    path = root.joinpath(*module.split("."))
    file = path.with_suffix(".py")
    return ast.parse((file if file.is_file() else path / "__init__.py").read_text(encoding="utf-8"))


def _exists(module: str, root: Path) -> bool:
    path = root.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@cache
def _names(module: str, root: Path) -> dict[str, Definition | tuple[str, str]]:
    """Name → its definition at the module's top, or (module, name) that it is imported from, be it in a function."""
    found: dict[str, Definition | tuple[str, str]] = {}
    tree = _parse(module, root)
    for node in ast.walk(tree):  # a command imports what takes seconds when it is called
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def _find(module: str, name: str, root: Path) -> tuple[str, Definition]:
    """A definition, and the module that it stands in: another one if this one imports the name."""
    found = _names(module, root).get(name)
    if isinstance(found, tuple):
        if _exists(found[0], root):
            return _find(*found, root)
        found = None
    if found is None:
        raise LookupError(f"{module} has no {name}")
    return module, found


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _fields(module: str, node: ast.ClassDef, root: Path) -> Iterator[Setting]:
    """Fields of a dataclass with their docstrings, those of its bases first; fields that are dataclasses in parts."""
    own: list[Setting] = []
    for item, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            text = str(_literal(following.value) or "") if isinstance(following, ast.Expr) else ""
            own += _setting(module, item.target.id, item.annotation, item.value, text, root)
    bases = [_find(module, base.id, root) for base in node.bases if isinstance(base, ast.Name)]
    inherited = [s for where, base in bases if isinstance(base, ast.ClassDef) for s in _fields(where, base, root)]
    names = {setting.name for setting in own}
    yield from (setting for setting in inherited if setting.name not in names)
    yield from own


def _parameters(module: str, node: ast.FunctionDef, texts: dict[str, str], root: Path) -> Iterator[Setting]:
    """Arguments of a function, without `self` and `**more`."""
    plain = [*node.args.posonlyargs, *node.args.args]
    defaults = [None] * (len(plain) - len(node.args.defaults)) + list(node.args.defaults)
    pairs = [*zip(plain, defaults, strict=True), *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
    for argument, default in pairs:
        if argument.arg != "self":
            text = texts.get(argument.arg, "")
            yield from _setting(module, argument.arg, argument.annotation, default, text, root)


def _setting(
    module: str, name: str, annotation: ast.expr | None, default: ast.expr | None, text: str, root: Path
) -> list[Setting]:
    inner = _dataclass_of(module, annotation, root)
    if inner:
        return [replace(setting, name=f"{name}.{setting.name}") for setting in _fields(*inner, root)]
    kind = _resolve_type(module, annotation, root) if annotation else "str"
    return [Setting(name, kind, _show(module, default, root), text, is_required=default is None)]


def _dataclass_of(module: str, annotation: ast.expr | None, root: Path) -> tuple[str, ast.ClassDef] | None:
    try:
        where, node = _find(module, annotation.id, root) if isinstance(annotation, ast.Name) else ("", None)
    except LookupError:
        return None
    return (where, node) if isinstance(node, ast.ClassDef) and _is_dataclass(node) else None


def _resolve_type(module: str, annotation: ast.expr, root: Path) -> str:
    """The annotation with this module's names of Literals put in."""
    text = ast.unparse(annotation)
    for name in {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}:
        try:
            _, node = _find(module, name, root)
        except LookupError:
            continue
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Literal["):
            text = re.sub(rf"\b{name}\b", ast.unparse(node.value).replace("\\", ""), text)
    return text


def _show(module: str, default: ast.expr | None, root: Path) -> str | None:
    """A default as a person writes it, where it is a plain value or the name of one."""
    if isinstance(default, ast.Name):
        try:
            node = _find(module, default.id, root)[1]
        except LookupError:
            return None
        default = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "Path" and default.args:
        default = default.args[0]
    if isinstance(default, ast.BinOp) and all(isinstance(n, ast.Constant) for n in (default.left, default.right)):
        return ast.unparse(default)  # 2 ** 30
    value = _literal(default)
    if value is None or value == "" or value == () or value == []:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, list | tuple) else str(value)


def _documented(node: ast.ClassDef | ast.FunctionDef) -> dict[str, str]:
    """Argument → its text in the docstring's Args section."""
    found = re.search(r"^Args:\n((?:[ ].*\n?|\n(?=[ ]))*)", ast.get_docstring(node) or "", re.MULTILINE)
    texts: dict[str, str] = {}
    name = ""
    for line in (found[1] if found else "").splitlines():
        start = re.match(r"    \*{0,2}(\w+)(?: \([^)]*\))?: (.*)", line)
        if start:
            name, texts[start[1]] = start[1], start[2]
        elif name:
            texts[name] += " " + line.strip()
    return texts


def _added(module: str, node: ast.FunctionDef, root: Path, given: Mapping[str, ast.expr] = NOTHING) -> list[Setting]:
    """Arguments that a function adds to a parser, itself or by functions of its module that begin with `_add_`.

    Args:
        module: Where the function stands.
        node: The function.
        root: Folder of the packages.
        given: Keyword → value that it is called with.
    """
    found: list[Setting] = []
    for call in (each for each in ast.walk(node) if isinstance(each, ast.Call)):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
            found += _argument(call, given)
        elif isinstance(call.func, ast.Name) and call.func.id.startswith("_add_"):
            where, inner = _find(module, call.func.id, root)
            keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
            found += _added(where, inner, root, keywords) if isinstance(inner, ast.FunctionDef) else []
    return found


def _argument(call: ast.Call, given: Mapping[str, ast.expr]) -> list[Setting]:
    """What a call of `add_argument` adds; --config is told with every verb in one place."""
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    required, default = keywords.get("required"), keywords.get("default")
    if isinstance(required, ast.Name):
        required = given.get(required.id)
    name, action = _literal(call.args[0]), _literal(keywords.get("action"))
    if not isinstance(name, str) or action == "config":
        return []
    positional = not name.startswith("-")
    return [
        Setting(
            name.lstrip("-").replace("-", "_"),
            ast.unparse(keywords["type"]) if "type" in keywords else "str",
            _show("", None if isinstance(default, ast.Name) else default, ROOT),
            str(_literal(keywords.get("help")) or ""),
            is_required=positional or _literal(required) is True,
            is_switch=action == "store_true",
            takes_words=_literal(keywords.get("nargs")) in ("+", "*"),
            is_positional=positional,
        )
    ]


def _literal(node: ast.expr | None) -> object:
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None


def _split_union(kind: str) -> list[str]:
    """Parts of "a | b", not of those within brackets."""
    parts, depth = [""], 0
    for letter in kind:
        depth += (letter == "[") - (letter == "]")
        if letter == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
