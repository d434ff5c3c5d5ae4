"""Whether a cache and its dataset are what they say: every checksum, every join, every place in the tars."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from cache_schema.addresses import Place
from cache_schema.cache import MANIFEST, Cache
from cache_schema.canvases import CanvasStore
from cache_schema.copies import temporary_copy
from cache_schema.dataset_file import TarEntry
from cache_schema.errors import CacheError
from cache_schema.groups import REPACK, find_divided_of
from cache_schema.index import Dataset
from cache_schema.keys import is_store_name, store_name
from cache_schema.likenesses import no_hashes, read_likeness
from cache_schema.listing import file_size, list_names
from cache_schema.near_duplicates import Hashes
from cache_schema.plain_files import open_plain
from cache_schema.shown import MAX_SENTENCE, shown
from cache_schema.tar_members import Member, is_mostly_holes, read_members
from cache_schema.tars import EXTENSIONS, SampleFields, rows_sha256
from cache_schema.text_hashes import check_distinct_keys
from cache_schema.turns import share_turns
from cache_schema.verify_stores import Store, check_store, compare_canvases, limit_lines
from cache_schema.workers import run_tasks

READ_BYTES = 2**20
MAX_COPY_BYTES = 2**20
"""Of the json beside an image."""
MAX_SURPLUS = 10_000
"""Members that the index does not expect, and that are counted still."""
TASK_FOLDERS = (".logs", ".progress")
"""What the tasks that fill a cache keep beside its stores."""


@dataclass(frozen=True)
class TarCheck:
    """What was found in one tar and its store."""

    tar: str
    state: str
    """Of the store: `done`, `missing`, `stale`, `damaged`, or `unchecked` if the check itself failed."""
    problems: tuple[str, ...]
    """A line each; empty if all is well."""
    likenesses: Hashes = field(default_factory=no_hashes, compare=False)
    """Perceptual hash of each row's image, (rows,); empty unless the images were read."""


def verify(cache: Cache, dataset: Dataset, *, deep: bool = False, num_workers: int = 1) -> Iterator[TarCheck]:
    """Check every tar with its store; one result a tar, in the dataset's order.

    Args:
        cache: The cache.
        dataset: The dataset that it belongs to.
        deep: Read every image and every json copy too, and hash what each image looks like.
        num_workers: Processes at once.
    """
    if deep:
        share_turns()
    tasks = [(cache, dataset, n, deep) for n in range(len(dataset.tars))]
    outcomes = run_tasks(verify_tar, tasks, num_workers, unit="tar")
    for entry, outcome in zip(dataset.tars, outcomes, strict=True):
        if isinstance(outcome, Exception):
            yield TarCheck(entry.name, "unchecked", (_line(entry.name, f"{type(outcome).__name__}: {outcome}"),))
        else:
            yield outcome


def verify_tar(cache: Cache, dataset: Dataset, n: int, deep: bool) -> TarCheck:
    """Check tar n and its store against the index. What is wrong is in the result; nothing of it is raised."""
    entry = dataset.tars[n]
    try:
        rows = dataset.rows(n)
    except CacheError as error:
        return TarCheck(entry.name, "unchecked", (_line(entry.name, str(error)),))
    problems = _check_index(rows, entry)
    store, state, store_problems = check_store(cache, rows, entry)
    problems += store_problems
    likenesses = no_hashes(len(rows) if deep else 0)
    try:
        problems += _check_tar(dataset.tar_path(n), rows, entry, store, likenesses if deep else None, dataset.updated)
    except CacheError as error:
        problems.append(str(error))
    if isinstance(store, CanvasStore):
        store.close()
    return TarCheck(entry.name, state, tuple(_line(entry.name, p) for p in problems), likenesses)


def index_problems(dataset: Dataset) -> list[str]:
    """A line for what is wrong with the index as a whole: a key in two tars, or a group in two splits."""
    try:
        check_distinct_keys(dataset)
        divided = find_divided_of(dataset)
    except CacheError as error:
        return [shown(str(error), MAX_SENTENCE)]
    return [f"{dataset.index_path}: {divided.sentence()}. {REPACK}"] if divided else []


def strays(cache: Cache, dataset: Dataset, *, with_temporary: bool = True) -> list[str]:
    """A line for each file in the cache folder that is no store of a tar and not its manifest. They do no harm.

    Args:
        cache: The cache.
        dataset: The dataset that it belongs to.
        with_temporary: Whether to tell of temporary files, which a running job has too.
    """
    known = {MANIFEST, *(store_name(entry.name) for entry in dataset.tars)}
    lines = []
    for name in list_names(cache.folder):
        path = shown(f"{cache.folder}/{name}")
        if is_temporary(name):
            text = "a temporary file, of a running job or left behind by one that was killed"
            lines += [f"{path}: {text}"] if with_temporary else []
        elif is_store_name(name) and name not in known:
            lines.append(f"{path}: a store of no tar of this dataset")
        elif name not in known and name not in TASK_FOLDERS:
            lines.append(f"{path}: not a file of a cache")
    return lines


def is_temporary(name: str) -> bool:
    """Whether a file of a cache folder is one that is being written, or was when its run was killed."""
    return name.startswith(".") and name.endswith(".tmp")


def _line(tar: str, problem: str) -> str:
    text = shown(" ".join(problem.split()), MAX_SENTENCE)
    if text.startswith("row "):
        return f"{tar}, {text}"
    return text if text.startswith(tar) else f"{tar}: {text}"


def _check_index(rows: pa.Table, entry: TarEntry) -> list[str]:
    computed = rows_sha256(rows["key"].to_pylist(), map(bytes.fromhex, rows["sha256"].to_pylist()))
    if computed == entry.rows_sha256:
        return []
    return [f"the index's rows hash to {computed}, dataset.json says {entry.rows_sha256}. Pack the dataset again."]


def _check_tar(
    path: Place,
    rows: pa.Table,
    entry: TarEntry,
    store: Store | None,
    likenesses: Hashes | None,
    updated: Sequence[str],
) -> list[str]:
    """What is wrong with a tar. With `likenesses` its images are read too, and their perceptual hashes put there."""
    size = file_size(path)
    if size is None:
        return [f"{path} is missing. Restore it or pack the dataset again."]
    problems = [] if size == entry.num_bytes else [f"{path} has {size} bytes, dataset.json says {entry.num_bytes}"]
    if isinstance(path, Path):
        return problems + _check_content_of_tar(path, rows, store, likenesses, updated)
    if likenesses is None:  # its headers lie between the images: reading them means to read all of it
        return problems
    with temporary_copy(path) as copy:
        found = _check_content_of_tar(copy, rows, store, likenesses, updated)
    return problems + [problem.replace(str(copy), str(path)) for problem in found]


def _check_content_of_tar(
    path: Path, rows: pa.Table, store: Store | None, likenesses: Hashes | None, updated: Sequence[str]
) -> list[str]:
    problems: list[str] = []
    members: list[Member] = []
    try:
        members.extend(islice(read_members(path), 2 * len(rows) + MAX_SURPLUS))
    except CacheError as error:  # what came before it is compared still
        problems.append(str(error))
    if len(members) != 2 * len(rows):
        problems.append(f"{path} has {len(members)} members, the index expects {2 * len(rows)}")
    problems += limit_lines(_check_places(members, rows))
    if is_mostly_holes(path):
        problems.append(f"{path} is mostly holes: expected a tar whose bytes are on the disk")
    elif likenesses is not None:
        with open_plain(path) as f:
            problems += limit_lines(list(_check_images(f, rows, store, likenesses)))
            if isinstance(store, CanvasStore):
                problems += limit_lines(list(compare_canvases(f, rows, store)))
            problems += limit_lines(list(_check_copies(f, members, rows, updated)))
    return problems


def _check_places(members: Sequence[Member], rows: pa.Table) -> list[str]:
    by_offset = {member.offset: member for member in members}
    columns = (rows[name].to_pylist() for name in ("key", "offset", "size"))
    problems, before = [], -1
    for row, (key, offset, size) in enumerate(zip(*columns, strict=True)):
        member = by_offset.get(offset)
        stem, _, extension = member.name.rpartition(".") if member else ("", "", "")
        if member is None:
            problems.append(f"row {row} ({key}): no file begins at byte {offset} of the tar, where the index has it")
        elif stem != key or extension not in EXTENSIONS.values():
            problems.append(f"row {row} ({key}): the tar has {member.name!r} at byte {offset}")
        elif member.size != size:
            problems.append(f"row {row} ({key}): {member.size} bytes in the tar, {size} in the index")
        elif offset <= before:
            problems.append(f"row {row} ({key}): comes before row {row - 1} in the tar")
        before = offset
    return problems


def _check_images(f: BinaryIO, rows: pa.Table, store: Store | None, likenesses: Hashes) -> Iterator[str]:
    columns = (rows[name].to_pylist() for name in ("key", "offset", "size", "sha256"))
    stored = {} if store is None else dict(zip(store.keys, store.image_sha256, strict=True))
    for row, (key, offset, size, sha256) in enumerate(zip(*columns, strict=True)):
        found = _sha256(f, offset, size)
        if found != sha256:
            of_store = f", the store {bytes(stored[key]).hex()}" if key in stored else ""
            yield f"row {row} ({key}): the image's bytes hash to {found}, the index says {sha256}{of_store}"
        else:
            likenesses[row] = read_likeness(f, offset, size)


def _sha256(f: BinaryIO, offset: int, size: int) -> str:
    digest = hashlib.sha256()
    f.seek(offset)
    while size > 0 and (data := f.read(min(size, READ_BYTES))):
        digest.update(data)
        size -= len(data)
    return digest.hexdigest()


def _check_copies(f: BinaryIO, members: Sequence[Member], rows: pa.Table, updated: Sequence[str]) -> Iterator[str]:
    by_name = {member.name: member for member in members}
    names = [field.name for field in fields(SampleFields)]
    for row, values in enumerate(rows.select(["key", *names]).to_pylist()):
        key = values.pop("key")
        member = by_name.get(f"{key}.json")
        if member is None:
            yield f"row {row} ({key}): the tar has no {key}.json"
            continue
        if member.size > MAX_COPY_BYTES:
            yield f"row {row} ({key}): the tar's json has {member.size:,} bytes: expected {MAX_COPY_BYTES:,} at most"
            continue
        f.seek(member.offset)
        try:
            copy = json.loads(f.read(member.size))
            # A field that was updated in the index keeps its old value in the tar.
            differences = _differences({**copy, **{name: values[name] for name in updated}}, values)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            yield f"row {row} ({key}): the tar's json cannot be read ({error})"
            continue
        if differences:
            yield f"row {row} ({key}): {'; '.join(differences)} (the index counts)"


def _differences(copy: dict[str, Any], row: dict[str, Any]) -> list[str]:
    mine, theirs = ({name: repr(value) for name, value in fields.items()} for fields in (row, copy))
    return [
        f"{name} is {theirs.get(name, 'absent')} in the tar's json, {mine.get(name, 'absent')} in the index"
        for name in sorted(mine.keys() | theirs.keys())
        if mine.get(name) != theirs.get(name)
    ]
