"""Images to tars with an index: `python -m extract pack --src SOURCE --out FOLDER`.

Every file is inspected once. What cannot be used (empty, truncated, no image, a second copy) goes to `rejected.csv`
with its reason; everything else is packed, with its original bytes unless copies are asked for.
"""

import functools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import (
    Dataset,
    ObjectPath,
    Sample,
    append_dataset,
    check_new,
    lock_folder,
    read_rejected,
    state_folder,
    update_index,
    write_dataset,
)
from extract.packing.catalogue import Rows, collect_facts, collect_files, facts_at, files_at
from extract.packing.chains import join_groups_there
from extract.packing.choosing import (
    Choice,
    add_to_rejected,
    choose,
    find_photographs,
    rejected_table,
    unused_table,
)
from extract.packing.class_names import ClassNames
from extract.packing.config import PackConfig
from extract.packing.corrections import find_corrections
from extract.packing.divided import check_groups
from extract.packing.inspecting import Chosen, inspect_file, make_sample
from extract.packing.layouts import Listing, SourceFile
from extract.packing.limiting import limit_files
from extract.packing.lists import Layout, find_layout, list_source
from extract.packing.opening import Root
from extract.packing.ordered import map_in_processes, map_in_threads, with_progress
from extract.packing.repeats import share_groups
from extract.packing.splits import split_of
from extract.packing.telling import (
    refuse_nothing_usable,
    tell_classes,
    tell_contents,
    tell_gaps,
    tell_limit,
    tell_near_duplicates,
    tell_rejected,
)

logger = logging.getLogger(__name__)

INSPECT_CHUNK = 64
READ_CHUNK = 4
NUM_AT_ONCE = 16
"""Requests to object storage at a time, where files are read to be packed."""
REJECTED = "rejected.csv"


def pack(config: PackConfig) -> Dataset:
    """Pack a source, or append it to a dataset.

    Raises:
        ValueError: If the source is not in its layout (line or row is named), or holds no usable image. With `append`,
            also if it has other bytes for a key of the dataset, or, without `update_labels`, other fields. If a group
            would lie in several splits, unless `allow_divided_groups`.
        DatasetError: If `out` exists, is being written by another process, or a file changes while it is packed. With
            `append`, also if `out` is no dataset or has other settings.
    """
    layout = find_layout(config.source, config.layout)
    logger.info("%s: packing it as layout %s", config.source, layout)
    with lock_folder(state_folder(config.target)):
        dataset = None
        if config.append:
            dataset = Dataset.open(config.target)
            dataset.check_settings(config.settings(layout))
        else:
            check_new(config.target)
        source = _Source.inspect(config, layout, dataset)
        source = replace(source, files=share_groups(source.files, source.facts, dataset))
        return source.write(dataset, config.settings(layout))


@dataclass(frozen=True)
class _Source:
    """A source whose files have been inspected."""

    config: PackConfig
    layout: Layout
    listing: Listing
    files: pa.Table
    facts: pa.Table
    unused: pa.Table
    """Rows of rejected.csv of what belongs to nothing in the source."""

    @classmethod
    def inspect(cls, config: PackConfig, layout: Layout, dataset: Dataset | None) -> "_Source":
        classes = None if config.classes is None else ClassNames.read(config.classes)
        listing = list_source(
            config.source, layout, config.root_of_paths, config.subset, follow_links=config.follow_links
        )
        found = listing.files if classes is None else map(classes.complete, listing.files)
        files = join_groups_there(collect_files(with_progress(found, "listing", "file")), dataset)
        if (most := config.max_per_source) is not None:
            cut = functools.partial(_split_of, config=config, has_validation=listing.has_validation)
            num_offered = len(files)
            files, num_left_out = limit_files(files, most, config.seed, cut, dataset)
            tell_limit(most, num_left_out, num_offered)
        if config.classes is not None:
            tell_classes(config.classes, files)
        inspect = functools.partial(
            inspect_file,
            Root(listing.root, config.follow_links),
            config.copy_rule,
            max_pixels=config.max_pixels,
            max_file_bytes=config.max_file_bytes,
        )
        facts = map_in_processes(inspect, files_at(files), config.num_workers, INSPECT_CHUNK)
        facts_table = collect_facts(with_progress(facts, "inspecting", "file", len(files)))
        return cls(config, layout, listing, files, facts_table, unused_table(listing.unused()))

    def write(self, dataset: Dataset | None, settings: dict[str, Any]) -> Dataset:
        """Write the chosen files to a new dataset, or append them to one."""
        config, rule = self.config, self.config.copy_rule
        cut = functools.partial(split_of, config=config, has_validation=self.listing.has_validation)
        choice = choose(self.files, self.facts, dataset, split_of=cut, copies=rule.is_copy)
        changes = None if dataset is None else self._find_changes(dataset)
        allowed = config.allow_divided_groups
        check_groups(self.files, choice.rows, self._split_of, dataset, changes, allowed=allowed)
        if dataset is not None and changes is not None:
            dataset = update_index(dataset, changes)
        photographs = find_photographs(self.files, self.facts, choice) if rule.needs_photograph else {}
        rejected = pa.concat_tables([rejected_table(self.files, self.facts, choice), self.unused])
        self._check_any(choice, rejected, is_new=dataset is None)
        tell_rejected(self.files, choice, rejected)
        has_validation = self.listing.has_validation
        tell_gaps(config, self.files, choice, dataset, self._split_of, has_validation=has_validation)
        tell_near_duplicates(self.files, self.facts, self._comparable(choice), self._split_of)
        if dataset is not None and (earlier := read_rejected(config.target / REJECTED)) is not None:
            rejected = add_to_rejected(earlier, rejected, self.files)
        samples = self._samples(np.random.default_rng(config.seed).permutation(choice.rows), photographs)
        sizes = {"max_rows": config.max_rows, "max_bytes": config.max_bytes}
        if dataset is None:
            written = write_dataset(config.target, samples, settings, rejected=rejected, is_locked=True, **sizes)
            num_skipped, num_before = 0, 0
        else:
            written, num_skipped = append_dataset(
                config.target, samples, settings, rejected=rejected, is_locked=True, **sizes
            )
            num_before = len(dataset.tars)
        logger.info(
            "%d images in %d new tars, %d were there already, %d are copies of others, %d files in %s",
            len(choice.rows) - num_skipped,
            len(written.tars) - num_before,
            choice.num_known + num_skipped,
            choice.num_copies,
            len(rejected),
            REJECTED,
        )
        tell_contents(written)
        return written

    def _find_changes(self, dataset: Dataset) -> pa.Table | None:
        """The fields that the source says otherwise of the dataset's images, if any and if they may be written."""
        config = self.config
        usable = np.flatnonzero(pc.is_null(self.facts["rejection"]).to_numpy())
        found = find_corrections(self.files, usable, dataset, self._splits_of)
        if not len(found.changes):
            return None
        if not config.update_labels:
            raise ValueError(
                f"{config.source} differs from {config.target} in {found.sentence()}. "
                "Pass --update_labels true to write that into the index (images and caches stay as they are), or take "
                "the changes back."
            )
        logger.info("%s: updating %s", config.target, found.sentence())
        return found.changes

    def _check_any(self, choice: Choice, rejected: pa.Table, *, is_new: bool) -> None:
        """Raise ValueError, with the reasons, if no file can be used; their list then lies beside the dataset."""
        num_files = len(self.files) + len(self.unused)
        if not num_files:
            raise ValueError(f"no samples to write: {self.config.source} has no files in layout {self.layout}")
        if not len(choice.rows) and (is_new or not self.facts["rejection"].null_count):
            refuse_nothing_usable(self.config.source, self.config.target, num_files, rejected)

    def _split_of(self, file: SourceFile) -> str:
        return self._splits_of(file)[0]

    def _splits_of(self, file: SourceFile) -> tuple[str, ...]:
        """The splits that a file may have, whatever the rest of its source says; the one in this source first."""
        cuts = (self.listing.has_validation, not self.listing.has_validation)
        return tuple(_split_of(file, self.config, has_validation=cut) for cut in cuts)

    def _comparable(self, choice: Choice) -> Rows:
        """The files that are packed, and those that the dataset has already: all that this packing has inspected."""
        usable = np.flatnonzero(pc.is_null(self.facts["rejection"]).to_numpy())
        return np.setdiff1d(usable, np.array([*choice.reasons], dtype=np.int64))

    def _samples(self, rows: Rows, photographs: dict[int, int]) -> Iterator[Sample]:
        make = functools.partial(make_sample, Root(self.listing.root, self.config.follow_links), self.config.copy_rule)
        chosen, workers = self._chosen(rows, photographs), self.config.num_workers
        if self.config.copy_rule.is_copy:
            samples = map_in_processes(make, chosen, workers, READ_CHUNK)
        else:
            # Threads that wait for object storage need no core each.
            threads = max(workers, NUM_AT_ONCE) if isinstance(self.listing.root, ObjectPath) else workers
            samples = map_in_threads(make, chosen, threads, READ_CHUNK)
        return with_progress(samples, "packing", "image", len(rows))

    def _chosen(self, rows: Rows, photographs: dict[int, int]) -> Iterator[Chosen]:
        files, all_facts = files_at(self.files, rows), facts_at(self.facts, rows)
        for row, file, facts in zip(rows.tolist(), files, all_facts, strict=True):
            photograph: SourceFile | None = None
            if row in photographs:
                photograph = next(files_at(self.files, np.array([photographs[row]])))
            yield Chosen(file, facts, self._split_of(file), photograph)


def _split_of(file: SourceFile, config: PackConfig, *, has_validation: bool) -> str:
    return split_of(file.split, file.group or file.key, config, has_validation=has_validation)
