"""What can be wrong with stored data, one small tree.

CacheError
├── DatasetError          dataset.json, the index or a tar: missing, unreadable, or not what the index says
├── ShardMissing          a tar has no store in this cache
├── ShardCorrupt          a store is unreadable, incomplete, or fails a checksum
├── ShardStale            a store was made from another version of its tar
├── FingerprintMismatch   features made with other settings
└── FormatVersionError    written by another version of the format

StorageError and WorkerLost stand beside it: they say nothing about the data.
"""


class CacheError(Exception):
    """Stored data is missing, damaged, or made by something else."""


class DatasetError(CacheError):
    """The packed dataset cannot be read, or a tar is not what the index says."""


class ShardMissing(CacheError):
    """A tar has no store in this cache."""


class ShardCorrupt(CacheError):
    """A store is unreadable, incomplete, or fails a checksum."""


class ShardStale(CacheError):
    """A store was made from another version of its tar."""


class FingerprintMismatch(CacheError):
    """The cache holds features made with other settings."""


class FormatVersionError(CacheError):
    """The data was written by another version of the format."""


class StorageError(Exception):
    """Object storage does not answer, refuses, or sends something else than it should; nothing is wrong with the data.

    No `CacheError` and no `OSError`, so that nobody takes a store for damaged, and replaces it, as the network is down.
    """


class WorkerLost(Exception):
    """A worker process ended before its work was done."""
