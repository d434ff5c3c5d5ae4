"""Settings that weights bring with them, as data: known names, plain values of the kinds that the code names, bounded.

Checkpoints and detector folders may come from strangers. A value of theirs never becomes a class, a path or a download.
"""

import json
import math
from collections.abc import Callable, Mapping
from inspect import signature
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

NOT_READ = ("pretrained", "record", "allow_difference", "other_length")
"""Names that weights may hold and that are no settings of theirs: other weights, facts, and what a person permits."""
MAX_PX = 4096
MAX_CHANNELS = 1024
_BOUNDS = {"image_size": (1, MAX_PX), "crop_px": (1, MAX_PX), "map_channels": (1, MAX_CHANNELS)}
"""Least and greatest value of what a network's size depends on."""
_VIEW = {"view": Literal["canvas", "native"], "alignment": Literal["whole", "crop"] | None, "crop_px": int}
_PRECISIONS = ("64-true", "64", "32-true", "32", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "16", "bf16")


def read_settings(found: object, *makers: Callable[..., Any], others: bool = True) -> dict[str, Any]:
    """Arguments of functions among the values that weights bring.

    Args:
        found: Name → value, as stored.
        makers: Functions, the types of whose arguments are checked. Of what has a list or a dict nothing is taken.
        others: Whether other names are passed over; otherwise they are refused.

    Raises:
        ValueError: If a value is of another kind or out of bounds, or a name is unknown.
    """
    if not isinstance(found, Mapping):
        raise ValueError("its settings are no names and values")
    kinds = {name: kind for maker in makers for name, kind in _kinds(maker).items()}
    unknown = sorted(str(name)[:80] for name in found if name not in kinds and name not in NOT_READ)
    if unknown and not others:
        raise ValueError(f"its settings name {', '.join(unknown)}, which this version does not know")
    return {name: _check(name, found[name], kind) for name, kind in kinds.items() if name in found}


def read_view(trained_on: object) -> dict[str, Any]:
    """`view`, `alignment` and `crop_px` of a training, where it says them.

    Args:
        trained_on: What weights say about their training.

    Raises:
        ValueError: If one has another value than a datamodule takes.
    """
    view = trained_on.get("view") if isinstance(trained_on, Mapping) else None
    if view is None:
        return {}
    if not isinstance(view, Mapping):
        raise ValueError("its view is no names and values")
    return {name: _check(name, view[name], kind) for name, kind in _VIEW.items() if view.get(name) is not None}


def read_precision(trained_on: object) -> str | None:
    """The trainer's precision in training, where weights say one that there is."""
    precision = trained_on.get("precision") if isinstance(trained_on, Mapping) else None
    return precision if isinstance(precision, str) and precision in _PRECISIONS else None


def read_record(found: object) -> dict[str, Any] | None:
    """Facts that belong to weights, as plain values.

    Raises:
        ValueError: If they are none.
    """
    if found is None:
        return None
    try:
        plain = json.loads(json.dumps(found, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its record holds more than plain values: {error}") from error
    if not isinstance(plain, dict):
        raise ValueError("its record is no names and values")
    return plain


def _kinds(maker: Callable[..., Any]) -> dict[str, Any]:
    init = maker.__init__ if isinstance(maker, type) else maker  # type: ignore[misc]
    hints = get_type_hints(init)
    named = (p.name for p in signature(init).parameters.values() if p.kind is not p.VAR_KEYWORD)
    return {name: hints[name] for name in named if name in hints and name not in NOT_READ}


def _check(name: str, value: Any, kind: Any) -> Any:
    least, most = _BOUNDS.get(name, (-math.inf, math.inf))
    if not _is_of(value, kind):
        raise ValueError(f"its {name} is {str(value)[:80]!r}, which is no value of that setting")
    if name in _BOUNDS and not least <= value <= most:
        raise ValueError(f"its {name} is {value}: expected {least} … {most}")
    return value


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a plain value is of a type; True is no number, an integer is one with a point too."""
    if get_origin(kind) is Literal:
        return type(value) is str and value in get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return any(_is_of(value, one) for one in get_args(kind))
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return kind in (bool, int, str, NoneType) and type(value) is kind
