"""What of a dataset is in a cache, from the stores' attributes alone: done, missing, stale, damaged; rejected, and why.

Two things cannot be told here. A bit flipped in an array is seen by `verify`. Texts per sample that have changed since
a store was made are seen by the extraction, which has the prompt policy.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cache_schema.cache import Cache
from cache_schema.dataset_file import TarEntry
from cache_schema.errors import CacheError, FingerprintMismatch, FormatVersionError, ShardCorrupt, ShardStale
from cache_schema.index import Dataset
from cache_schema.keys import store_name
from cache_schema.listing import map_files
from cache_schema.shown import MAX_SENTENCE, shown
from cache_schema.status import Status, is_ok

STATES = ("done", "missing", "stale", "damaged")
MAX_REASONS = 20
MAX_TARS = 5
MAX_STRAYS = 5
_OK = tuple(s.name.lower() for s in Status if is_ok(s))
_PARTICULARS = re.compile(r"""0x[0-9a-fA-F]+|\d+(?:[.,]\d+)*|\bb(?:'[^']*'|"[^"]*")""")


@dataclass(frozen=True)
class ShardReport:
    """What the attributes of one tar's store tell."""

    tar: str
    num_rows: int
    state: str
    """`done`, `missing`, `stale` (other settings, another version of the tar or of the format), or `damaged`."""
    problem: str = ""
    """What is wrong, in a sentence; empty for a tar that is done or missing."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Name of a status, in small letters → number of rows."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Kind of reason (`reason_kind`) → number of rejected rows."""
    seconds: float = 0.0
    """How long it took to make the store."""

    @property
    def num_rejected(self) -> int:
        """Number of rejected rows."""
        return sum(count for status, count in self.counts.items() if status not in _OK)


def reason_kind(reason: str) -> str:
    """A reason without its particulars: numbers and quoted bytes become `#`, so that like reasons count together."""
    return shown(_PARTICULARS.sub("#", " ".join(reason[:MAX_SENTENCE].split())))


def shard_reports(cache: Cache, dataset: Dataset) -> Iterator[ShardReport]:
    """One report a tar, in the dataset's order; no array is read."""
    stores = {*cache.shards()}
    yield from map_files(lambda entry: _report(cache, entry, stores), dataset.tars, cache.folder)


def _report(cache: Cache, entry: TarEntry, stores: Collection[str]) -> ShardReport:
    name = store_name(entry.name)
    if name not in stores:
        return ShardReport(entry.name, entry.num_rows, "missing")
    try:
        attributes = cache.attributes(name)
        check_rows(attributes, entry)
        return _from_attributes(attributes, entry)
    except CacheError as error:
        return ShardReport(entry.name, entry.num_rows, state_of(error), str(error))


def state_of(error: CacheError) -> str:
    """State of a store that cannot be used because of an error."""
    return "stale" if isinstance(error, ShardStale | FingerprintMismatch | FormatVersionError) else "damaged"


def check_rows(attributes: Mapping[str, Any], entry: TarEntry) -> None:
    """Raise ShardStale if a store was made from other rows than the tar has now, by its attributes."""
    if attributes.get("rows_sha256") != entry.rows_sha256:
        raise ShardStale(
            f"{entry.name} has changed since its features were made (rows hash to {entry.rows_sha256}, the store says "
            f"{attributes.get('rows_sha256')}). Extract this tar again with --overwrite stale."
        )


def _from_attributes(attributes: Mapping[str, Any], entry: TarEntry) -> ShardReport:
    try:
        counts = {str(status): int(count) for status, count in attributes["counts"].items()}
        reasons = Counter(reason_kind(reason) for reason in attributes.get("reasons", {}).values())
        seconds = float(attributes.get("seconds", 0))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ShardCorrupt(f"attributes cannot be read ({type(error).__name__}: {error})") from error
    if sum(counts.values()) != entry.num_rows:
        raise ShardCorrupt(f"the store counts {sum(counts.values())} rows, its tar has {entry.num_rows}")
    return ShardReport(entry.name, entry.num_rows, "done", "", counts, reasons, seconds)


def summarize(cache: Cache, reports: Iterable[ShardReport], strays: Sequence[str] = ()) -> dict[str, Any]:
    """The whole cache in one JSON object.

    Args:
        cache: The cache.
        reports: One a tar, in the dataset's order.
        strays: A line for each file in the folder that is none of a cache.

    Returns:
        `cache`, `dataset_id`, `fingerprint`; `tars` (state → names); `shards` (state → positions, as extraction takes
        them); `problems` (tar → sentence); `rows` (`total`, `done`, `ok`, `ok_after_fp32`, `rejected`; all but the
        first of done tars only); `rejected` (`by_status`, `by_reason`, `other_reasons`, `by_tar`: the worst); `seconds`
        (summed over done tars), `images_per_second` (null if no time is recorded) and `strays`.
    """
    reports = list(reports)
    done = [r for r in reports if r.state == "done"]
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for report in done:
        counts.update(report.counts)
        reasons.update(report.reasons)
    by_status = {status: count for status, count in counts.most_common() if status not in _OK}
    most = reasons.most_common(MAX_REASONS)
    worst = sorted((r for r in done if r.num_rejected), key=lambda r: -r.num_rejected / r.num_rows)[:MAX_TARS]
    seconds = sum(r.seconds for r in done)
    num_done = sum(r.num_rows for r in done)
    return {
        "cache": str(cache.folder),
        "dataset_id": cache.dataset_id,
        "fingerprint": cache.fingerprint,
        "tars": {state: [r.tar for r in reports if r.state == state] for state in STATES},
        "shards": {state: format_shards([n for n, r in enumerate(reports) if r.state == state]) for state in STATES},
        "problems": {r.tar: r.problem for r in reports if r.problem},
        "rows": {
            "total": sum(r.num_rows for r in reports),
            "done": num_done,
            **{status: counts[status] for status in _OK},
            "rejected": sum(by_status.values()),
        },
        "rejected": {
            "by_status": by_status,
            "by_reason": dict(most),
            "other_reasons": reasons.total() - sum(count for _, count in most),
            "by_tar": {r.tar: r.num_rejected for r in worst},
        },
        "seconds": round(seconds, 3),
        "images_per_second": round(num_done / seconds, 3) if seconds else None,
        "strays": list(strays),
    }


def format_shards(positions: Sequence[int]) -> str:
    """Ascending positions of tars as extraction takes them, [0, 1, 2, 5] → "0-2,5"."""
    runs: list[list[int]] = []
    for n in positions:
        if runs and runs[-1][-1] == n - 1:
            runs[-1] = [runs[-1][0], n]
        else:
            runs.append([n])
    return ",".join("-".join(map(str, run)) for run in runs)


def format_status(summary: Mapping[str, Any]) -> str:
    """`summarize`'s object as text for people."""
    tars, rows, rejected = summary["tars"], summary["rows"], summary["rejected"]
    lines = [f"{state_name(summary, tar):8} {tar}: {problem}" for tar, problem in summary["problems"].items()]
    lines += [_not_done(state, tars[state], summary["shards"][state]) for state in STATES[1:] if tars[state]]
    lines.append(f"{summary['cache']}: {', '.join(f'{len(tars[state])} {state}' for state in STATES)} tars")
    share = 100 * rejected_share(rows)
    lines.append(
        f"{rows['done']:,} of {rows['total']:,} images done, {rows['rejected']:,} of them rejected ({share:.2f} %), "
        f"{rows['ok_after_fp32']:,} after an fp32 retry"
    )
    if summary["images_per_second"]:
        lines.append(f"{summary['images_per_second']:,.1f} images/s over {summary['seconds']:,.0f} s, summed over jobs")
    lines += [f"{count:>9,} × {status}" for status, count in rejected["by_status"].items()]
    if rejected["by_reason"]:
        lines.append("reasons, numbers in them as #:")
        lines += [f"{count:>9,} × {reason}" for reason, count in rejected["by_reason"].items()]
    if rejected["other_reasons"]:
        lines.append(f"{rejected['other_reasons']:>9,} × other reasons")
    if rejected["by_tar"]:
        worst = ", ".join(f"{tar} {count:,}" for tar, count in rejected["by_tar"].items())
        lines.append(f"largest shares of rejected images: {worst}")
    strays = summary["strays"]
    lines += [f"stray file, which is not read: {line}" for line in strays[:MAX_STRAYS]]
    lines += [f"… and {len(strays) - MAX_STRAYS:,} more stray files"] if len(strays) > MAX_STRAYS else []
    return "".join(f"{shown(line, MAX_SENTENCE)}\n" for line in lines)


def _not_done(state: str, tars: Sequence[str], shards: str) -> str:
    names = ", ".join(tars[:MAX_TARS]) + (", …" if len(tars) > MAX_TARS else "")
    return f"{state:8} {len(tars):,} tars (SHARD={shards}): {names}"


def state_name(summary: Mapping[str, Any], tar: str) -> str:
    """State of a tar in `summarize`'s object."""
    return next(state for state in STATES if tar in summary["tars"][state])


def rejected_share(rows: Mapping[str, int]) -> float:
    """Share of the done rows that were rejected, 0 … 1."""
    return rows["rejected"] / rows["done"] if rows["done"] else 0.0
