"""A smaller variant of a cache without any model: maps of full precision rounded as an extraction would have done."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema.addresses import Place
from cache_schema.cache import Cache, create_cache
from cache_schema.errors import CacheError, ShardStale, StorageError, WorkerLost
from cache_schema.fingerprint import Fingerprint
from cache_schema.index import Dataset
from cache_schema.listing import file_size
from cache_schema.status import Status, is_ok
from cache_schema.store import FULL_MANTISSA_BITS, ShardData, fits_stored, non_finite_reason
from cache_schema.workers import run_tasks

_LIBRARIES = ("numpy", "numcodecs", "zarr")
_NOT_RETRIED = (None, "fp32", "unknown")
"""Compute dtypes whose maps no extraction computes again in fp32 where they are not finite once stored."""


@dataclass(frozen=True)
class Derived:
    """What became of one store."""

    name: str
    state: str
    """`written`, `skipped` (it was there) or `failed`."""
    problem: str = ""
    num_bytes: int = 0
    """Size of a store that was written."""


def derived_fingerprint(source: Cache, stored_dtype: str, mantissa_bits: int | None) -> Fingerprint:
    """The fingerprint of an extraction with the source's settings, but for stored dtype and mantissa bits.

    Args:
        source: A cache of float32 maps with all their bits.
        stored_dtype: `float16` or `float32`.
        mantissa_bits: Bits to keep; None means all of the dtype's.

    Raises:
        ValueError: If the dtype has not so many bits.
        CacheError: If the source is rounded already, or has these very settings.
    """
    source.check_maps()
    all_bits = FULL_MANTISSA_BITS[stored_dtype]
    bits = all_bits if mantissa_bits is None else mantissa_bits
    if not 1 <= bits <= all_bits:
        raise ValueError(f"mantissa_bits is {bits}: {stored_dtype} keeps 1 … {all_bits}")
    dtype, source_bits = source.fields["stored_dtype"], source.fields.get("mantissa_bits")
    full = FULL_MANTISSA_BITS["float32"]
    if dtype != "float32" or source_bits not in (None, full):
        raise CacheError(
            f"{source.folder} holds {dtype} maps of {source_bits} mantissa bits. Rounding them a second time would not "
            f"give what an extraction gives: derive from a cache of float32 maps with all {full} bits."
        )
    fingerprint = Fingerprint({**source.fields, "stored_dtype": stored_dtype, "mantissa_bits": bits})
    if fingerprint.hexdigest == source.fingerprint:
        raise CacheError(f"{source.folder} has these settings already: there is nothing to derive.")
    return fingerprint


def derive_cache(
    source: Cache,
    folder: str | Place,
    *,
    stored_dtype: str = "float16",
    mantissa_bits: int | None = None,
    overwrite: bool = False,
    num_workers: int = 1,
    dataset: Dataset | None = None,
) -> Iterator[Derived]:
    """Write every store of a cache, rounded, to another cache folder; one result a store, in their order.

    Args:
        source: A cache of float32 maps with all their bits.
        folder: The variant's own folder; made if absent.
        stored_dtype: `float16` or `float32`.
        mantissa_bits: Bits to keep; None means all of the dtype's.
        overwrite: Replace stores that are there, instead of checking and skipping them.
        num_workers: Processes at once.
        dataset: The cache's; then stores of no tar of it are passed over.

    Raises:
        ValueError: If the dtype has not so many bits.
        CacheError: If the source cannot be derived from, or the folder holds something else.
    """
    fingerprint = derived_fingerprint(source, stored_dtype, mantissa_bits)
    target = create_cache(folder, source.dataset_id, fingerprint)
    names = source.shards() if dataset is None else source.stores_of(dataset.tars)
    tasks = [(source, target, name, overwrite) for name in names]
    return _outcomes(names, run_tasks(derive_store, tasks, num_workers, unit="store"))


def _outcomes(names: list[str], outcomes: Iterator[Derived | Exception]) -> Iterator[Derived]:
    for name, outcome in zip(names, outcomes, strict=True):
        if isinstance(outcome, Exception):
            known = isinstance(outcome, CacheError | OSError | StorageError | WorkerLost)
            yield Derived(name, "failed", str(outcome) if known else f"{type(outcome).__name__}: {outcome}")
        else:
            yield outcome


def derive_store(source: Cache, target: Cache, name: str, overwrite: bool) -> Derived:
    """Write one store, rounded.

    Args:
        source: A cache of float32 maps with all their bits.
        target: The variant.
        name: Name of the store in both.
        overwrite: Replace it if it is there.

    Raises:
        CacheError: If the source's store cannot be read, the target's was made from something else, or a map cannot
            be had without the model.
        OSError: If it cannot be written; nothing is left behind.
    """
    start = time.perf_counter()
    if target.has(name) and not overwrite:
        _check_existing(source, target, name)
        return Derived(name, "skipped")
    shard = _reject_overflows(source.read(name), source, target, name)
    attributes = {key: value for key, value in shard.attributes.items() if not key.startswith("seconds")}
    attributes |= {"seconds": round(time.perf_counter() - start, 3), "provenance": _provenance(source, shard)}
    may_replace = overwrite or isinstance(target.folder, Path)
    try:
        path = target.write(name, replace(shard, attributes=attributes), replace=may_replace)
    except FileExistsError:  # another run was quicker
        return Derived(name, "skipped")
    return Derived(name, "written", num_bytes=file_size(path) or 0)


def _check_existing(source: Cache, target: Cache, name: str) -> None:
    mine, theirs = target.attributes(name), source.attributes(name)
    for what in ("rows_sha256", "prompts_sha256"):
        if mine.get(what) != theirs.get(what):
            raise ShardStale(
                f"{target.path(name)} has {what} {mine.get(what)}, its source {theirs.get(what)}: the source has "
                "changed since. Derive again with --overwrite."
            )


def _reject_overflows(shard: ShardData, source: Cache, target: Cache, name: str) -> ShardData:
    """Do what an extraction does with a map that is too large for the stored dtype: a NaN row, a status, a reason."""
    dtype, bits = str(target.fields["stored_dtype"]), int(target.fields["mantissa_bits"])
    lare, status = shard.lare.copy(), shard.status.copy()
    reasons = dict(shard.attributes.get("reasons", {}))
    too_large = np.flatnonzero(is_ok(status) & ~fits_stored(lare, dtype, bits))
    for row in too_large:
        if status[row] == Status.OK and source.fields.get("compute_dtype") not in _NOT_RETRIED:
            raise CacheError(
                f"{source.path(name)}, row {row} ({shard.keys[row]}): the map does not fit {dtype}. An extraction in "
                f"{source.fields['compute_dtype']} would compute it again in fp32, which needs the model: extract this "
                f"tar with stored_dtype {dtype} and mantissa_bits {bits} into {target.folder}."
            )
    status[too_large] = Status.NON_FINITE
    lare[~is_ok(status)] = np.nan
    of_source = non_finite_reason(str(source.fields["stored_dtype"]))
    reasons = {row: non_finite_reason(dtype) if reason == of_source else reason for row, reason in reasons.items()}
    reasons |= {str(row): non_finite_reason(dtype) for row in too_large}
    by_row = dict(sorted(reasons.items(), key=lambda item: int(item[0])))
    return replace(shard, lare=lare, status=status, attributes={**shard.attributes, "reasons": by_row})


def _provenance(source: Cache, shard: ShardData) -> dict[str, Any]:
    return {
        "derived_from": {
            "fingerprint": source.fingerprint,
            **{name: value for name, value in shard.attributes.items() if name.startswith("seconds")},
            "provenance": shard.attributes.get("provenance"),
        },
        "versions": {library: version(library) for library in _LIBRARIES},
    }
