"""Strategies of hypothesis for hostile content: JSON with one value replaced, bytes flipped or cut short."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

REPEATABLE = settings(
    derandomize=True,
    deadline=None,
    max_examples=400,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""The same examples at every run; examples share the test's folder, and each writes its file anew."""
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=20) | st.just("../x")
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=300), inner, max_size=3),
    max_leaves=6,
)
"""Any value that JSON can hold, and what Python's reader takes besides: infinity, NaN, integers of any length."""
NOT_JSON = st.sampled_from([b"", b"[" * 100_000, b"1" * 5000, b"\xff\xfe", b"null", b"[]", b'"x"', b"\0"]) | st.binary()


def _places(content: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in inside:
        yield (*above, name)
        yield from _places(value, (*above, name))


@st.composite
def mutated(draw: st.DrawFn, content: Any) -> Any:
    """The content with one value, at any depth, replaced or removed."""
    *above, name = draw(st.sampled_from(list(_places(content))))
    changed = copy.deepcopy(content)
    at = changed
    for step in above:
        at = at[step]
    if draw(st.booleans()) and isinstance(at, dict):
        del at[name]
    else:
        at[name] = draw(VALUES)
    return changed


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with one to four of them changed; at times cut short as well."""
    changed = bytearray(data)
    for at in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
        changed[at] ^= draw(st.integers(1, 255))
    return bytes(changed[: draw(st.just(len(data)) | st.integers(0, len(data)))])
