"""From the words of a command to pictures: files, folders, tars, packed datasets, a list, the standard input.

Files, folders, tars and datasets may lie in object storage.
"""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache

from cache_schema import CacheError, Dataset, ImageRejected, ObjectPath, Place, Status, place, read_image_bytes
from detect.files.config import STDIN
from detect.files.lists import read_list
from detect.files.objects import walk_objects
from detect.files.skipped import FOLDER_LINKS, HIDDEN, LISTED_FOLDERS, SPECIAL, Skipped
from detect.files.tars import is_tar, read_tar
from detect.picture import MAX_FILE_BYTES, Picture


class Sources:
    """The pictures that a command's words mean, found one after the other in a fixed order.

    Folders are walked when their turn comes, and only the names of the folders on the way are held.

    Args:
        words: Paths or addresses, or `-` for one picture from the standard input.
        files_from: File with a list of paths and addresses, or `-`; None: there is no list.

    Raises:
        OSError: If a path is not there or cannot be read.
        ValueError: If a tar is compressed.
        CacheError: If a packed dataset is damaged.
        StorageError: If object storage does not answer, or refuses.
    """

    def __init__(self, words: Sequence[str], files_from: str | None = None) -> None:
        self.words, self.files_from, self.skipped = words, files_from, Skipped()
        self._datasets: dict[str, Dataset] = {}
        self._prefixes: dict[str, ObjectPath] = {}
        self._is_single = [self._check(word) for word in words]
        if files_from not in (None, STDIN):
            with open(str(files_from), "rb"):
                pass

    @property
    def folders(self) -> list[str]:
        """The words that are folders to be walked."""
        return [word for word in self.words if word not in self._datasets and os.path.isdir(word)]

    @property
    def is_one_picture(self) -> bool:
        """Whether a person has asked about one picture alone."""
        return self._is_single == [True] and self.files_from is None

    @property
    def num_pictures(self) -> int | None:
        """How many there are, where that is known beforehand."""
        counted = [
            sum(tar.num_rows for tar in self._datasets[word].tars) if word in self._datasets else 1 if single else None
            for word, single in zip(self.words, self._is_single, strict=True)
        ]
        return None if None in counted or self.files_from is not None else sum(num or 0 for num in counted)

    def __iter__(self) -> Iterator[Picture]:
        """All pictures; the standard input can be read only once."""
        for word in self.words:
            if word == STDIN:
                yield Picture(STDIN, cache(_read_stdin))  # once for the verdict, once for the figure
            elif word in self._datasets:
                yield from dataset_pictures(self._datasets[word])
            elif word in self._prefixes:
                yield from walk_objects(self._prefixes[word], self.skipped)
            elif os.path.isdir(word):
                yield from walk(word, self.skipped)
            else:
                yield from self._of_file(word)
        yield from self._of_list()

    def _check(self, word: str) -> bool:
        """Whether a word is a single picture."""
        if word == STDIN:
            return True
        if isinstance(where := place(word), ObjectPath):
            return self._check_object(word, where)
        if not os.path.isdir(word):
            if not os.path.lexists(word):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), word)
            return not (os.path.isfile(word) and is_tar(where))
        if is_dataset(where):
            self._datasets[word] = Dataset.open(where)
        elif not os.access(word, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), word)
        return False

    def _check_object(self, word: str, path: ObjectPath) -> bool:
        if path.is_file():
            return not is_tar(path)
        if is_dataset(path):
            self._datasets[word] = Dataset.open(path)
        elif path.is_dir():
            self._prefixes[word] = path
        else:
            raise FileNotFoundError(errno.ENOENT, "no such object, and none below it", word)
        return False

    def _of_file(self, path: str) -> Iterator[Picture]:
        """The pictures of a file that was named; what is wrong with it is told when it is loaded."""
        try:
            where = place(path)
            tar = (isinstance(where, ObjectPath) or os.path.isfile(where)) and is_tar(where)
        except (OSError, ValueError) as error:
            yield _broken(path, error)
            return
        yield from read_tar(where, self.skipped, path) if tar else (Picture.of(path),)

    def _of_list(self) -> Iterator[Picture]:
        if self.files_from is None:
            return
        is_stdin = self.files_from == STDIN
        source = sys.stdin.fileno() if is_stdin else self.files_from
        with open(source, "rb", buffering=0, closefd=not is_stdin) as file:
            for path in read_list(file.fileno(), "the standard input" if is_stdin else self.files_from):
                if os.path.isdir(path):
                    self.skipped.add(LISTED_FOLDERS)
                else:
                    yield from self._of_file(path)


def walk(folder: str, skipped: Skipped) -> Iterator[Picture]:
    """The pictures below a folder, sorted by name in each folder; links to folders are not followed.

    A folder that cannot be read gives a picture of its name that says so when it is loaded.
    """
    levels = [_entries(folder)]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
        elif isinstance(entry, Picture):
            yield entry
        elif entry.is_dir(follow_symlinks=False):
            if entry.name.startswith("."):
                skipped.add(HIDDEN)
            else:
                levels.append(_entries(entry.path))
        elif entry.is_symlink() and os.path.isdir(entry.path):
            skipped.add(FOLDER_LINKS)
        elif os.path.exists(entry.path) and not os.path.isfile(entry.path):
            skipped.add(SPECIAL)
        elif skipped.is_picture(entry.name):
            yield Picture.of(entry.path)


def _entries(folder: str) -> Iterator[os.DirEntry[str] | Picture]:
    try:
        with os.scandir(folder) as found:
            return iter(sorted(found, key=lambda entry: entry.name))
    except OSError as error:
        return iter([_broken(folder, error)])


def is_dataset(folder: Place) -> bool:
    """Whether a folder is a packed dataset."""
    return all((folder / name).is_file() for name in ("dataset.json", "index.parquet"))


def dataset_pictures(dataset: Dataset) -> Iterator[Picture]:
    """The samples of a packed dataset, tar by tar, each named by its key and with its key's noise."""
    for n in range(len(dataset.tars)):
        rows, tar = dataset.rows(n).select(["key", "offset", "size"]), dataset.tar_path(n)
        for batch in rows.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                yield _sample(tar, **row)


def _sample(tar: Place, key: str, offset: int, size: int) -> Picture:
    def load() -> bytes:
        if not 0 <= size <= MAX_FILE_BYTES:
            raise ImageRejected(Status.TOO_LARGE, f"{size} bytes, at most {MAX_FILE_BYTES}")
        try:
            return read_image_bytes(tar, offset, size)
        except CacheError as error:
            raise ImageRejected(Status.UNREADABLE, str(error)) from error

    return Picture(key, load, sample_key=key)


def _read_stdin() -> bytes:
    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ImageRejected(Status.TOO_LARGE, f"more than {MAX_FILE_BYTES} bytes")
    return data


def _broken(name: str, error: Exception) -> Picture:
    def load() -> bytes:
        raise error if isinstance(error, OSError) else ImageRejected(Status.UNREADABLE, str(error))

    return Picture(name, load)
