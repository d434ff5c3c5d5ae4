"""Texts of all rows as hashes of eight bytes each: what stands in several rows is found without the texts in memory.

The hash is Python's own of texts, SipHash with a key that is new in each process: whoever writes an index cannot make
two texts meet. That two of a hundred million do so by chance is found out where their texts are compared.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache_schema.errors import DatasetError
from cache_schema.index import TEXT_TARS, Dataset
from cache_schema.index_rows import repeated_keys

Hashes = NDArray[np.uint64]
BLOCK = 2**22
"""Hashes that are compared with their neighbours at once."""
MAX_COMPARED = 100_000
"""Texts of equal hash that are compared in memory."""


def hash_texts(column: pa.ChunkedArray) -> Hashes:
    """Hash of each text, (rows,), uint64, equal for equal texts within this process; of a missing one too.

    Args:
        column: Texts, plain or as a dictionary.
    """
    if not len(column):
        return np.zeros(0, np.uint64)
    array = column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        values = _hash(array.dictionary)
        indices = np.asarray(array.indices.fill_null(len(values)))
        hashes: Hashes = np.append(values, _hash(pa.nulls(1, pa.string())))[indices]
        return hashes
    return _hash(array.cast(pa.string()))


def _hash(texts: pa.Array) -> Hashes:
    plain = texts.to_numpy(zero_copy_only=False)
    return np.fromiter(map(hash, plain), np.int64, len(plain)).view(np.uint64)


def blocks(values: Hashes) -> Iterator[tuple[Hashes, Hashes]]:
    """Each sorted value but the last, and the one behind it, some at a time."""
    for start in range(0, len(values) - 1, BLOCK):
        following = values[start + 1 : start + 1 + BLOCK]
        yield values[start : start + len(following)], following


def contains(values: Hashes, wanted: Hashes) -> NDArray[np.bool_]:
    """Whether each hash is one of the sorted values: (hashes,), bool."""
    if not len(values):
        return np.zeros(len(wanted), bool)
    found: NDArray[np.bool_] = values[np.minimum(np.searchsorted(values, wanted), len(values) - 1)] == wanted
    return found


def check_distinct_keys(dataset: Dataset) -> None:
    """Refuse an index in which a key stands in two rows: its sample would count twice. Takes 8 bytes a sample.

    Raises:
        DatasetError: If one does, or the index cannot be read.
    """
    hashes = np.empty(sum(tar.num_rows for tar in dataset.tars), np.uint64)
    at = 0
    for _, table in dataset.scan(["key"], TEXT_TARS):
        hashes[at : at + len(table)] = hash_texts(table["key"])
        at += len(table)
    hashes.sort()
    several = np.unique(np.concatenate([hashes[:0], *(one[one == other] for one, other in blocks(hashes))]))
    del hashes
    if not len(several):
        return
    counts: Counter[str] = Counter()
    for _, table in dataset.scan(["key"], TEXT_TARS):
        keys = table["key"].filter(pa.array(contains(several, hash_texts(table["key"])))).to_pylist()
        counts.update(key for key in keys if key in counts or len(counts) < MAX_COMPARED)
    twice = [key for key, count in counts.items() if count > 1]
    if twice:
        # Of more than are compared each is taken for what its hash says.
        number = len(twice) if len(several) < MAX_COMPARED else len(several)
        raise DatasetError(
            f"{dataset.index_path} cannot be read ({repeated_keys(number, twice[0])}). Pack the dataset again."
        )
