"""Every setting of a packing, each with a sentence and a check."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache_schema import MAX_PIXELS, Place, check_least, is_address, place
from extract.packing.copies import SELECT_PX, CopyRule
from extract.packing.inspecting import MAX_FILE_BYTES
from extract.packing.lists import find_layout

_MOST = {"max_pixels": MAX_PIXELS, "max_file_bytes": MAX_FILE_BYTES}


@dataclass(frozen=True)
class PackConfig:
    """How a source becomes a dataset."""

    src: Path
    """Source of the images: a folder or a file in one of the layouts below, or an address of one in object storage."""
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
    classes: Path | None = None
    """File with the class of images whose names say none, for class prompts: CSV with a file and its class, or a public
    list of ImageNet's validation images (docs/your-data.md names them). What the source says stays."""
    subset: str = "all"
    """Name of the set that these images are scored in, where the layout does not say it: generated images are
    compared with the photographs of their own subset."""
    follow_links: bool = False
    """Follow links that lead out of the source, or out of `root`. Otherwise they are listed in rejected.csv."""
    max_per_source: int | None = None
    """Most images of each image source in each subset: whole groups, chosen by a hash of seed and group, each split
    with its share. Others are not even inspected."""
    max_pixels: int = MAX_PIXELS
    """Pictures that claim more pixels are rejected unread; memory is at most 16 bytes a pixel."""
    max_file_bytes: int = MAX_FILE_BYTES
    """Larger files are rejected unread."""
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
    allow_divided_groups: bool = False
    """Pack groups that lie in several splits, by the source's own splits, with a warning instead of a refusal. Training
    and evaluation refuse them too, each with a setting of its own."""
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
        for name, value in self.limits.items():
            if not 1 <= value <= _MOST[name]:
                raise ValueError(f"{name} is {value}: expected 1 … {_MOST[name]}")
        if self.max_per_source is not None:
            check_least("max_per_source", self.max_per_source, 1)
        if self.update_labels and not self.append:
            raise ValueError(
                "update_labels is true and append is false: only a dataset that is there has labels to update"
            )
        layout = find_layout(self.source, self.layout)
        if (root := self.root_of_paths) is not None:
            if layout not in ("annotation", "table"):
                raise ValueError(f"root is {root}, but layout is {layout}: only lists of paths have a root")
            if not root.is_dir():
                raise ValueError(f"root is {root}: no such folder")
        if self.classes is not None and not self.classes.is_file():
            raise ValueError(f"classes is {self.classes}: no such file")
        _ = self.copy_rule
        if self.update_labels and is_address(self.out):
            raise ValueError(
                f"update_labels is true, but out is {self.target}: labels are updated on a disk alone. Update a copy "
                "there, and copy dataset.json and index.parquet back"
            )

    @property
    def source(self) -> Place:
        """`src` as a place: a folder or file of this machine, or in object storage."""
        return place(self.src)

    @property
    def root_of_paths(self) -> Place | None:
        """`root` as a place."""
        return None if self.root is None else place(self.root)

    @property
    def target(self) -> Place:
        """`out` as a place: a folder of this machine, or one in object storage."""
        return place(self.out)

    @property
    def copy_rule(self) -> CopyRule:
        """Which copies are packed in place of the files."""
        return CopyRule(self.match, self.degrade, self.seed, self.select_px)

    @property
    def limits(self) -> dict[str, int]:
        """What a file may have at most: max_pixels and max_file_bytes."""
        return {name: getattr(self, name) for name in _MOST}

    def settings(self, layout: str) -> dict[str, Any]:
        """What decides the content of the dataset; goes into dataset.json, and must be the same when appending."""
        names = ("subset", "match", "degrade", "seed", "validation_fraction", "test_fraction", "max_rows", "max_bytes")
        # Named where it is not the default only, as datasets from before it was a setting can be appended to.
        more: dict[str, Any] = {} if self.select_px == SELECT_PX else {"select_px": list(self.select_px)}
        if self.follow_links:
            more["follow_links"] = True
        more |= {name: value for name, value in self.limits.items() if value != _MOST[name]}
        if self.max_per_source is not None:
            more["max_per_source"] = self.max_per_source
        return {"layout": layout, **{name: getattr(self, name) for name in names}, **more}
