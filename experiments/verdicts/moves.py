"""What becomes of a verdict when the same picture comes as another file, or with other noise."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from detect.decide import Rule
from experiments.answers.verdicts import side_of
from experiments.verdicts.files import FILES, REFERENCE
from experiments.verdicts.seen import BY_HASH, PACKED, RESEEDED, Seen, of_file
from experiments.verdicts.shares import DOMAIN
from train.scoring.intervals import mean_interval

CLASSES = {"photographs": 0, "generated": 1}
"""Name in the numbers → label."""
FLIPS = ("flipped to generated", "flipped to real")
"""From one certain verdict to the other: a failure."""
MOVES = ("same", "to unsure", "from unsure", *FLIPS)
"""What a verdict does."""
LOST = "no verdict"
CALLED = "called generated"
"""Beside the moves: how many files have this verdict, whatever the reference has."""
QUANTILES = (0.5, 0.9, 0.95, 0.99, 1.0)
CURVE_QUANTILES = tuple(np.linspace(0, 1, 21).round(2).tolist())
NOISES = {"by_hash": BY_HASH, "reseeded": RESEEDED}
"""Name in the numbers → the files whose noise is another than that of the sample key."""


def name_move(before: str | None, after: str | None) -> str:
    """One of `MOVES`, or `LOST` where either file cannot be used."""
    if before is None or after is None:
        return LOST
    if before == after:
        return "same"
    if after == "unsure":
        return "to unsure"
    return "from unsure" if before == "unsure" else f"flipped to {after}"


def measure_moves(seen: Sequence[Seen], rules: Sequence[tuple[Rule, list[float]]]) -> list[dict[str, Any]]:
    """Verdicts on each file against the verdict on `REFERENCE`, for each rule.

    The first file is the packed one with the noise of its sample key, which tells what other noise alone does; the
    second is the reference itself.

    Returns:
        For each rule "asked", "used", "files": file → name of `DOMAIN` → class → move, or `CALLED` → number of images.
    """
    labelled = [each for each in seen if each.label is not None]
    by_file = {file: of_file(labelled, file) for file in (PACKED, *FILES)}
    found = []
    for rule, asked in rules:
        files = {
            file: {
                name: {
                    each: _count(by_file[REFERENCE], by_file[file], rule, label, checks_domain=checks)
                    for each, label in CLASSES.items()
                }
                for name, checks in DOMAIN.items()
            }
            for file in by_file
        }
        found.append({"asked": asked, "used": rule.rate, "files": files})
    return found


def _count(
    reference: Mapping[str, Seen], others: Mapping[str, Seen], rule: Rule, label: int, *, checks_domain: bool
) -> dict[str, int]:
    pairs = [
        tuple(each.decide(rule, checks_domain=checks_domain) for each in (before, others[key]))
        for key, before in reference.items()
        if before.label == label
    ]
    moves = Counter(name_move(*pair) for pair in pairs)
    return {move: moves[move] for move in (*MOVES, LOST)} | {CALLED: sum(after == "generated" for _, after in pairs)}


def measure_noise(seen: Sequence[Seen]) -> dict[str, Any]:
    """How far probabilities move with the noise of the file's hash, and with another noise seed.

    Returns:
        "num_images"; for each of `NOISES` "mean" of |Δ probability|, its "quantiles" at `QUANTILES` and its "curve" at
        `CURVE_QUANTILES`; "excess": mean of the first less the second with its "interval" by group, "n_groups", and
        "side" of 0.
    """
    images = of_file(seen, PACKED)
    others = {name: of_file(seen, file) for name, file in NOISES.items()}
    keys = [key for key in others["by_hash"] if all(one[key].score is not None for one in (images, *others.values()))]
    before = np.array([images[key].probability for key in keys], dtype=float)
    moved = {
        name: np.abs(np.array([each[key].probability for key in keys], dtype=float) - before)
        for name, each in others.items()
    }
    difference = moved["by_hash"] - moved["reseeded"]
    excess = mean_interval(difference, np.array([images[key].group for key in keys]))
    return {
        "num_images": len(keys),
        **{
            name: {
                "mean": float(values.mean()),
                "quantiles": np.quantile(values, QUANTILES).tolist(),
                "curve": np.quantile(values, CURVE_QUANTILES).tolist(),
            }
            for name, values in moved.items()
        },
        "excess": {
            "mean": excess.value,
            "interval": excess.interval and list(excess.interval),
            "n_groups": excess.n_groups,
            "side": side_of(excess.interval, 0),
        },
    }
