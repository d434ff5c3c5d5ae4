"""The split of a file: a function of seed, fractions and group alone."""

import hashlib
from typing import Protocol


class CutConfig(Protocol):
    """What decides how test and validation are cut out."""

    @property
    def seed(self) -> int:
        """Seed of the cuts."""

    @property
    def validation_fraction(self) -> float:
        """Share of the groups of `train` that becomes `validation`, where the source has none."""

    @property
    def test_fraction(self) -> float:
        """Share of the groups that becomes `test`, of files for which the source says no split."""


def hash_fraction(seed: int, text: str) -> float:
    """A number in [0, 1) that depends on seed and text alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{text}".encode()).digest()[:8], "big") / 2**64


def split_of(split: str | None, group: str, config: CutConfig, *, has_validation: bool) -> str:
    """Split of a file: what its source says, with validation (and test, if it says nothing) cut out by group.

    Args:
        split: What the source says, or None.
        group: Its group: all of it comes to one side of a cut.
        config: Seed and fractions.
        has_validation: Whether the source itself says what is validation.
    """
    if split is None and hash_fraction(config.seed, f"test|{group}") < config.test_fraction:
        return "test"
    if split in (None, "train") and not has_validation:
        return "validation" if hash_fraction(config.seed, group) < config.validation_fraction else "train"
    return split or "train"
