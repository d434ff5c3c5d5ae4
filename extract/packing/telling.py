"""What a packing tells: why files are left out, what training or evaluation will refuse, and what was packed."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import (
    MAX_DISTANCE,
    Dataset,
    Place,
    commonest_reasons,
    contents_table,
    count_images,
    find_near_duplicates,
    new_file,
    write_rejected,
)
from extract.packing.catalogue import Rows, escape, files_at
from extract.packing.choosing import Choice
from extract.packing.config import PackConfig
from extract.packing.counting import count_offered, count_used
from extract.packing.gaps import CLASSES, find_gaps, find_remedies
from extract.packing.layouts import SourceFile

logger = logging.getLogger(__name__)

NUM_NAMED = 3
"""Files that a line names."""
NONE_USABLE = ".rejected.csv"
"""What the list's name ends in, beside the folder that is not made, where no file can be used."""


def refuse_nothing_usable(src: Place, out: Place, num_files: int, rejected: pa.Table) -> None:
    """Raise ValueError with the commonest reasons, once the list of all lies beside the dataset that is not made."""
    path = out.with_name(out.name + NONE_USABLE)
    with new_file(path) as temporary:
        write_rejected(temporary, rejected)
    raise ValueError(
        f"no samples to write: none of the {num_files} files of {src} can be used. "
        f"{'; '.join(commonest_reasons(rejected))}. All are listed in {path}."
    )


def tell_limit(max_per_source: int, num_left_out: int, num_offered: int) -> None:
    """Log how many files are beyond `max_per_source`."""
    logger.info(
        "max_per_source %s: %s of %s files are left out, not inspected and not in rejected.csv",
        f"{max_per_source:,}",
        f"{num_left_out:,}",
        f"{num_offered:,}",
    )


def tell_classes(classes: Path, files: pa.Table) -> None:
    """Log how many files of each class have no class name, and the first of them."""
    for label, name in enumerate(CLASSES):
        of_label = files.filter(pc.equal(files["label"], label))
        unknown = of_label.filter(pc.is_null(of_label["class_name"]))["path"]
        if not len(unknown):
            continue
        first = ", ".join(escape(os.fsdecode(path)) for path in unknown[:NUM_NAMED].to_pylist())
        logger.warning(
            "%s of %s %s images have no class name, neither by the source nor by %s: %s%s",
            f"{len(unknown):,}",
            f"{len(of_label):,}",
            name,
            classes,
            first,
            ", …" if len(unknown) > NUM_NAMED else "",
        )


def tell_rejected(files: pa.Table, choice: Choice, rejected: pa.Table) -> None:
    """Log the commonest reasons, and each image source of which nothing is left."""
    for line in commonest_reasons(rejected):
        logger.warning("left out: %s", line)
    if choice.num_known:
        return
    sources = files["image_source"]
    used = set(sources.take(pa.array(choice.rows)).unique().to_pylist())
    for source in sources.unique().to_pylist():
        if source not in used:
            logger.warning("none of the files of image source %s can be used", source)


def tell_gaps(
    config: PackConfig,
    files: pa.Table,
    choice: Choice,
    dataset: Dataset | None,
    split_of: Callable[[SourceFile], str],
    *,
    has_validation: bool,
) -> None:
    """Log what training or evaluation will refuse.

    Args:
        config: Settings of the packing.
        files: All of the source.
        choice: Which of them are packed.
        dataset: What they are appended to.
        split_of: The split that a file comes to.
        has_validation: Whether the source says itself what is validation.
    """
    used = count_used(files_at(files, choice.rows), split_of, dataset)
    is_cut = files["split"].null_count > 0
    remedies = find_remedies(config, has_validation=has_validation, is_cut=is_cut)
    for line in find_gaps(used, count_offered(files), remedies):
        logger.warning("%s", line)


def tell_contents(dataset: Dataset) -> None:
    """Log how many images a dataset has, by subset, image source, class and split."""
    logger.info("%s holds\n%s", dataset.folder, contents_table(count_images(dataset)).rstrip("\n"))


def tell_near_duplicates(files: pa.Table, facts: pa.Table, rows: Rows, split_of: Callable[[SourceFile], str]) -> None:
    """Log how many images look like one of another split, and the first of them. Nothing is left out.

    Args:
        files: All of the source.
        facts: What inspection found of them.
        rows: Which of them are packed.
        split_of: The split that a file comes to.
    """
    splits = [split_of(file) for file in files_at(files, rows)]
    hashes = facts["likeness"].take(pa.array(rows)).combine_chunks().to_numpy(zero_copy_only=False)
    found = find_near_duplicates(hashes, splits, NUM_NAMED)
    if not found.num_pairs:
        return
    paths = files["path"].take(pa.array(rows[found.pairs.ravel()])).to_pylist()
    names = [escape(os.fsdecode(path)) for path in paths]
    of = [splits[position] for position in found.pairs.ravel()]
    pairs = [f"{names[i]} ({of[i]}) and {names[i + 1]} ({of[i + 1]})" for i in range(0, len(names), 2)]
    logger.warning(
        "%s pairs of images of different splits look alike (perceptual hashes that differ in %d of 64 bits at most): "
        "%s%s. Give such images one group; verify --deep lists them",
        found.number,
        MAX_DISTANCE,
        ", ".join(pairs),
        ", …" if found.num_pairs > len(pairs) else "",
    )
