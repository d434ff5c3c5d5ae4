"""Images to tars with an index: `python -m extract pack --src SOURCE --out FOLDER`.

Every file is inspected once. What cannot be used (empty, truncated, no image, a second copy) goes to `rejected.csv`
with its reason; everything else is packed, with its original bytes unless copies are asked for.
"""

import functools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import (
    Dataset,
    Sample,
    append_dataset,
    check_least,
    check_new,
    lock_folder,
    new_file,
    read_rejected,
    update_index,
    write_dataset,
    write_rejected,
)
from extract.packing.catalogue import Rows, collect_facts, collect_files, facts_at, files_at
from extract.packing.choosing import (
    Choice,
    add_to_rejected,
    choose,
    find_photographs,
    rejected_table,
    unused_table,
)
from extract.packing.copies import SELECT_PX, CopyRule
from extract.packing.corrections import find_corrections
from extract.packing.counting import count_offered, count_used
from extract.packing.gaps import find_gaps, find_remedies
from extract.packing.inspecting import Chosen, inspect_file, make_sample
from extract.packing.layouts import Listing, SourceFile
from extract.packing.lists import Layout, find_layout, list_source
from extract.packing.ordered import map_in_processes, map_in_threads, with_progress
from extract.packing.reasons import commonest_reasons
from extract.packing.repeats import share_groups
from extract.packing.splits import split_of

logger = logging.getLogger(__name__)

INSPECT_CHUNK = 64
READ_CHUNK = 4
REJECTED = "rejected.csv"
NONE_USABLE = ".rejected.csv"
"""What the list's name ends in, beside the folder that is not made, where no file can be used."""


@dataclass(frozen=True)
class PackConfig:
    """How a source becomes a dataset."""

    src: Path
    """Source of the images: a folder or a file in one of the layouts below."""
    out: Path
    """New folder for dataset.json, index.parquet, the tars and rejected.csv."""
    layout: str = "auto"
    """What lies in the source. `folders`: `real/` and a folder per image source, directly or below `train/`,
    `validation/` (or `val/`, `valid/`), `test/`. `genimage`: GenImage's tree, or one generator's folder of it.
    `annotation`: a text file with a path and the label 0 (real) or 1 (generated) a line. `table`: CSV or Parquet with
    the columns path and label, and optionally image_source, subset, split, group, derived_from, class_name. `dataset`:
    a packed dataset. `auto`: the layout that the source has."""
    root: Path | None = None
    """What the paths in an annotation file or a table lie below; null: the folder that the file lies in."""
    subset: str = "all"
    """Name of the set that these images are scored in, where the layout does not say it: generated images are
    compared with the photographs of their own subset."""
    match: str | None = None
    """Pack copies whose file format and size do not reveal the label: `common` or `select`."""
    degrade: str | None = None
    """Pack degraded copies: jpeg:Q, webp:Q, resize:S, blur:SIGMA, noise:SD, crop:F, blend:F or social."""
    select_px: tuple[int, int] = SELECT_PX
    """Least and greatest side in px of the photographs that `match: select` keeps."""
    append: bool = False
    """Add what the dataset in `out` does not have yet, in new tars; its own stay as they are."""
    update_labels: bool = False
    """With `append`: where the source has another label, image source, subset, split, group, photograph or class for an
    image that is there, write that into the index. Images and caches stay as they are."""
    seed: int = 0
    """Seed of the shuffle that mixes the samples, of the cuts below, and of what is random about copies."""
    validation_fraction: float = 0.02
    """Share of the groups of `train` that becomes `validation`, where the source does not say what is validation."""
    test_fraction: float = 0.2
    """Share of the groups that becomes `test`, of files for which the source says no split."""
    max_rows: int = 4096
    """A tar is closed at this many samples,"""
    max_bytes: int = 2**30
    """or when it has reached this size, whichever comes first."""
    num_workers: int = os.cpu_count() or 1
    """Processes that inspect the files and make copies; 1: this one alone. The dataset does not depend on it."""

    def __post_init__(self) -> None:
        """Check the settings before any file is read."""
        for name in ("validation_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 0 <= {name} < 1")
        for name in ("max_rows", "max_bytes", "num_workers"):
            check_least(name, getattr(self, name), 1)
        if self.update_labels and not self.append:
            raise ValueError(
                "update_labels is true and append is false: only a dataset that is there has labels to update"
            )
        layout = find_layout(self.src, self.layout)
        if self.root is not None:
            if layout not in ("annotation", "table"):
                raise ValueError(f"root is {self.root}, but layout is {layout}: only lists of paths have a root")
            if not self.root.is_dir():
                raise ValueError(f"root is {self.root}: no such folder")
        _ = self.copy_rule

    @property
    def copy_rule(self) -> CopyRule:
        """Which copies are packed in place of the files."""
        return CopyRule(self.match, self.degrade, self.seed, self.select_px)

    def settings(self, layout: str) -> dict[str, Any]:
        """What decides the content of the dataset; goes into dataset.json, and must be the same when appending."""
        names = ("subset", "match", "degrade", "seed", "validation_fraction", "test_fraction", "max_rows", "max_bytes")
        # Named where it is not the default only, as datasets from before it was a setting can be appended to.
        selected = {} if self.select_px == SELECT_PX else {"select_px": list(self.select_px)}
        return {"layout": layout, **{name: getattr(self, name) for name in names}, **selected}


def pack(config: PackConfig) -> Dataset:
    """Pack a source, or append it to a dataset.

    Raises:
        ValueError: If the source is not in its layout (line or row is named), or holds no usable image. With `append`,
            also if it has other bytes for a key of the dataset, or, without `update_labels`, other fields.
        DatasetError: If `out` exists, is being written by another process, or a file changes while it is packed. With
            `append`, also if `out` is no dataset or has other settings.
    """
    layout = find_layout(config.src, config.layout)
    logger.info("%s: packing it as layout %s", config.src, layout)
    with lock_folder(config.out):
        dataset = None
        if config.append:
            dataset = Dataset.open(config.out)
            dataset.check_settings(config.settings(layout))
        else:
            check_new(config.out)
        source = _Source.inspect(config, layout)
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
    def inspect(cls, config: PackConfig, layout: Layout) -> "_Source":
        listing = list_source(config.src, layout, config.root, config.subset)
        files = collect_files(with_progress(listing.files, "listing", "file"))
        inspect = functools.partial(inspect_file, listing.root, config.copy_rule)
        facts = map_in_processes(inspect, files_at(files), config.num_workers, INSPECT_CHUNK)
        facts_table = collect_facts(with_progress(facts, "inspecting", "file", len(files)))
        return cls(config, layout, listing, files, facts_table, unused_table(listing.unused()))

    def write(self, dataset: Dataset | None, settings: dict[str, Any]) -> Dataset:
        """Write the chosen files to a new dataset, or append them to one."""
        config, rule = self.config, self.config.copy_rule
        cut = functools.partial(split_of, config=config, has_validation=self.listing.has_validation)
        choice = choose(self.files, self.facts, dataset, split_of=cut, copies=rule.is_copy)
        if dataset is not None:
            dataset = self._correct(dataset)
        photographs = find_photographs(self.files, self.facts, choice) if rule.needs_photograph else {}
        rejected = pa.concat_tables([rejected_table(self.files, self.facts, choice), self.unused])
        self._check_any(choice, rejected, is_new=dataset is None)
        self._tell_rejected(choice, rejected)
        self._tell_gaps(choice, dataset)
        if dataset is not None and (earlier := read_rejected(config.out / REJECTED)) is not None:
            rejected = add_to_rejected(earlier, rejected, self.files)
        samples = self._samples(np.random.default_rng(config.seed).permutation(choice.rows), photographs)
        sizes = {"max_rows": config.max_rows, "max_bytes": config.max_bytes}
        if dataset is None:
            written = write_dataset(config.out, samples, settings, rejected=rejected, is_locked=True, **sizes)
            num_skipped, num_before = 0, 0
        else:
            written, num_skipped = append_dataset(
                config.out, samples, settings, rejected=rejected, is_locked=True, **sizes
            )
            num_before = len(dataset.tars)
        logger.info(
            "%d images in %d new tars, %d were there already, %d files in %s",
            len(choice.rows) - num_skipped,
            len(written.tars) - num_before,
            choice.num_known + num_skipped,
            len(rejected),
            REJECTED,
        )
        return written

    def _correct(self, dataset: Dataset) -> Dataset:
        """The dataset with the fields that the source says of its images, if that is asked for; refused otherwise."""
        config = self.config
        usable = np.flatnonzero(pc.is_null(self.facts["rejection"]).to_numpy())
        found = find_corrections(self.files, usable, dataset, self._splits_of)
        if not len(found.changes):
            return dataset
        if not config.update_labels:
            raise ValueError(
                f"{config.src} differs from {config.out} in {found.sentence()}. Pass --update_labels true to write "
                "that into the index (images and caches stay as they are), or take the changes back."
            )
        logger.info("%s: updating %s", config.out, found.sentence())
        return update_index(dataset, found.changes)

    def _splits_of(self, file: SourceFile) -> tuple[str, ...]:
        """The splits that a file may have, whatever the rest of its source says; the one in this source first."""
        cuts = (self.listing.has_validation, not self.listing.has_validation)
        group = file.group or file.key
        return tuple(split_of(file.split, group, self.config, has_validation=cut) for cut in cuts)

    def _check_any(self, choice: Choice, rejected: pa.Table, *, is_new: bool) -> None:
        """Raise ValueError, with the reasons, if no file can be used; their list then lies beside the dataset."""
        src, out = self.config.src, self.config.out
        num_files = len(self.files) + len(self.unused)
        if not num_files:
            raise ValueError(f"no samples to write: {src} has no files in layout {self.layout}")
        if len(choice.rows) or (self.facts["rejection"].null_count and not is_new):
            return
        path = out.with_name(out.name + NONE_USABLE)
        with new_file(path) as temporary:
            write_rejected(temporary, rejected)
        raise ValueError(
            f"no samples to write: none of the {num_files} files of {src} can be used. "
            f"{'; '.join(commonest_reasons(rejected))}. All are listed in {path}."
        )

    def _tell_rejected(self, choice: Choice, rejected: pa.Table) -> None:
        """Log the commonest reasons, and each image source of which nothing is left."""
        for line in commonest_reasons(rejected):
            logger.warning("left out: %s", line)
        if choice.num_known:
            return
        sources = self.files["image_source"]
        used = set(sources.take(pa.array(choice.rows)).unique().to_pylist())
        for source in sources.unique().to_pylist():
            if source not in used:
                logger.warning("none of the files of image source %s can be used", source)

    def _tell_gaps(self, choice: Choice, dataset: Dataset | None) -> None:
        """Log what training or evaluation will refuse."""
        used = count_used(files_at(self.files, choice.rows), lambda file: self._splits_of(file)[0], dataset)
        is_cut = self.files["split"].null_count > 0
        remedies = find_remedies(self.config, has_validation=self.listing.has_validation, is_cut=is_cut)
        for line in find_gaps(used, count_offered(self.files), remedies):
            logger.warning("%s", line)

    def _samples(self, rows: Rows, photographs: dict[int, int]) -> Iterator[Sample]:
        make = functools.partial(make_sample, self.listing.root, self.config.copy_rule)
        chosen, workers = self._chosen(rows, photographs), self.config.num_workers
        if self.config.copy_rule.is_copy:
            samples = map_in_processes(make, chosen, workers, READ_CHUNK)
        else:
            samples = map_in_threads(make, chosen, workers, READ_CHUNK)
        return with_progress(samples, "packing", "image", len(rows))

    def _chosen(self, rows: Rows, photographs: dict[int, int]) -> Iterator[Chosen]:
        files, all_facts = files_at(self.files, rows), facts_at(self.facts, rows)
        for row, file, facts in zip(rows.tolist(), files, all_facts, strict=True):
            photograph: SourceFile | None = None
            if row in photographs:
                photograph = next(files_at(self.files, np.array([photographs[row]])))
            yield Chosen(file, facts, self._splits_of(file)[0], photograph)
