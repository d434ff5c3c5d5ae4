"""Why files are left out, for a person: the commonest reasons, each with its count and an example."""

import re
from collections import Counter

import pyarrow as pa

from cache_schema.report import reason_kind
from cache_schema.shown import shown

MAX_KINDS = 5
_PARTICULARS = re.compile(
    r"""(?<=bytes as ).*|(?<=key as ).*|(?<=made from, )\S+(?=,)|(?<=it begins with ).*|'[^']*'|"[^"]*\""""
)


def commonest_reasons(rejected: pa.Table) -> list[str]:
    """The commonest kinds of reasons, "12 × empty file (for example real/a.png)"; what is beyond them is counted.

    Args:
        rejected: Rows with the columns of `REJECTED_SCHEMA`.
    """
    counts: Counter[str] = Counter()
    examples: dict[str, tuple[str, str]] = {}
    for path, reason in zip(rejected["path"].to_pylist(), rejected["reason"].to_pylist(), strict=True):
        kind = reason_kind(_PARTICULARS.sub("#", reason))
        counts[kind] += 1
        examples.setdefault(kind, (path, reason))
    lines = []
    for kind, count in counts.most_common(MAX_KINDS):
        path, reason = map(shown, examples[kind])
        lines.append(f"{count:,} × {reason} (for example {path})" if count > 1 else f"1 × {reason} ({path})")
    if rest := counts.total() - sum(count for _, count in counts.most_common(MAX_KINDS)):
        lines.append(f"{rest:,} × other reasons")
    return lines
