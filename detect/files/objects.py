"""Pictures in object storage, found by listings, a folder at a time."""

from collections.abc import Iterator

from cache_schema import ObjectPath, list_entries
from detect.files.skipped import HIDDEN, Skipped
from detect.picture import Picture


def walk_objects(folder: ObjectPath, skipped: Skipped) -> Iterator[Picture]:
    """The pictures below a prefix, in the order of a folder on a disk: sorted by name in each folder.

    Raises:
        StorageError: If the service does not answer, or refuses. Nothing can be said of the pictures then.
    """
    levels = [(folder, iter(list_entries(folder)))]
    while levels:
        at, entries = levels[-1]
        entry = next(entries, None)
        if entry is None:
            levels.pop()
        elif not entry.is_folder:
            if skipped.is_picture(entry.name):
                yield Picture.of(at / entry.name)
        elif entry.name.startswith("."):
            skipped.add(HIDDEN)
        else:
            levels.append((at / entry.name, iter(list_entries(at / entry.name))))
