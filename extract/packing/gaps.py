"""What training or evaluation will refuse of a packing, told before it is written: by split, subset and class."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from extract.packing.counting import Cell

FEW = 10
"""Of fewer validation images of a class, a threshold is chosen by chance."""
CLASSES = ("real", "generated")
"""By label."""
_REFUSED = {
    "train": "training will refuse that subset alone",
    "validation": f"fewer than {FEW} choose a threshold by chance, and training refuses one class alone",
    "test": "evaluation needs both classes of a subset",
}
_WITHOUT = {
    "train": "training will refuse this dataset",
    "validation": "training cannot choose its best state, nor a threshold",
    "test": "evaluation will refuse this dataset",
}


@dataclass(frozen=True)
class Remedies:
    """What to change."""

    splits: Mapping[str, str]
    """Split → where it lacks images."""
    lost: str
    """Where all images of a class are left out."""


class CopySettings(Protocol):
    """Settings that may leave a class out."""

    @property
    def match(self) -> str | None:
        """As `CopyRule` has it."""

    @property
    def degrade(self) -> str | None:
        """As `CopyRule` has it."""

    @property
    def select_px(self) -> tuple[int, int]:
        """As `CopyRule` has it."""

    @property
    def max_per_source(self) -> int | None:
        """Most images of a source; None: all."""

    @property
    def validation_fraction(self) -> float:
        """Share of the groups that becomes `validation`."""

    @property
    def test_fraction(self) -> float:
        """Share of the groups that becomes `test`."""


def find_remedies(config: CopySettings, *, has_validation: bool, is_cut: bool) -> Remedies:
    """What to change where a class is missing.

    Args:
        config: Settings of the packing.
        has_validation: Whether the source says itself what is validation.
        is_cut: Whether packing cuts out the test split.
    """
    validation, test = config.validation_fraction, config.test_fraction
    said = "The source says its splits: move images into {}."
    lost = "rejected.csv says why."
    if config.match == "select":
        least, most = config.select_px
        lost = f"Change --select_px (now {least} to {most}), or choose --match common."
    elif config.degrade and config.degrade.startswith("blend"):
        lost = "Give each its photograph in the column derived_from of a table, or choose another --degrade."
    raised = f"Raise --validation_fraction (now {validation}), or change --seed."
    splits = {
        "train": f"Lower --test_fraction (now {test})." if is_cut else said.format("train"),
        "validation": said.format("validation") if has_validation else raised,
        "test": f"Raise --test_fraction (now {test}), or change --seed." if is_cut else said.format("test"),
    }
    if config.max_per_source is not None:
        more = f"Or raise --max_per_source (now {config.max_per_source})."
        splits = {split: f"{text} {more}" for split, text in splits.items()}
    return Remedies(splits, lost)


def find_gaps(used: Counter[Cell], offered: Counter[tuple[str, int]], remedies: Remedies) -> Iterator[str]:
    """A sentence for each kind of gap.

    Args:
        used: Number of images that the dataset will have, by split, subset and label.
        offered: Number of files of the source, packed or not, by subset and label.
        remedies: What the sentences end with.
    """
    totals: Counter[tuple[str, int]] = Counter()
    for (_, subset, label), number in used.items():
        totals[subset, label] += number
    for subset in sorted({subset for subset, _ in (*totals, *offered)}):
        for label, name in enumerate(CLASSES):
            if offered[subset, label] and not totals[subset, label]:
                number = offered[subset, label]
                yield f"subset {subset}: none of its {number} {name} images can be used. {remedies.lost}"
        if totals[subset, 1] and not totals[subset, 0] and not offered[subset, 0]:
            yield (
                f"subset {subset} has generated images and no real ones: evaluation will refuse it. Give photographs "
                "that subset, with --subset or the column subset."
            )
    if totals and not any(label for _, label in (*totals, *offered)):
        yield "there are no generated images at all: training and evaluation will refuse this dataset. Add some."
    subsets = [subset for subset in sorted({s for s, _ in totals}) if totals[subset, 0] and totals[subset, 1]]
    for split in _REFUSED:
        there = {cell[0] for cell in used}
        if split not in there and there:
            yield f"there are no {split} images at all: {_WITHOUT[split]}. {remedies.splits[split]}"
            continue
        for label, name in enumerate(CLASSES):
            found = [(used[split, s, label], s) for s in subsets if _is_short(used, split, s, label)]
            if found:
                numbers = ", ".join(f"{number} of subset {subset}" for number, subset in found)
                yield f"{split} images, {name}: {numbers}: {_REFUSED[split]}. {remedies.splits[split]}"


def _is_short(used: Counter[Cell], split: str, subset: str, label: int) -> bool:
    number = used[split, subset, label]
    if split == "validation":
        is_trained_on = bool(used["train", subset, 0] + used["train", subset, 1] + used[split, subset, 1 - label])
        return is_trained_on and number < FEW
    return not number and used[split, subset, 1 - label] > 0
