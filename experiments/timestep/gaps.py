"""How far the mean LaRE of generated images lies from that of the real ones, and on which side, setting by setting."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from experiments.answers.answer import Chart, Curve, Table, with_interval
from experiments.study.comparisons import side_of
from train.scoring.evaluate import select_sources
from train.scoring.metrics import group_weights, interval
from train.scoring.scores import Reading

NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class Gap:
    """Of one image source."""

    relative: float
    """Mean of the generated images over that of the real ones, less 1."""
    interval: tuple[float, float] | None
    """95 %, by resampled groups."""
    n: int
    """Generated images."""
    is_paired: bool
    """Whether each stands against the real image of its own photograph."""

    @property
    def sign(self) -> int:
        """−1 lower, 1 higher, 0 not told apart."""
        return side_of(self.interval, 0)


Gaps = Mapping[int, Mapping[str, Gap]]
"""Timestep → image source → gap."""


def compute_gaps(mean_lare: Reading) -> dict[str, Gap]:
    """The gap of each image source to the real images of its subsets.

    Args:
        mean_lare: Of minus the mean LaRE.
    """
    values, groups = -mean_lare.scores[0], mean_lare.table["group"].to_numpy()
    result = {}
    for source, chosen, labels in select_sources(mean_lare):
        generated, real = chosen[labels == 1], chosen[labels == 0]
        images, partners = match_reals(mean_lare.table, generated, real)
        is_paired = len(images) > 0
        if is_paired:
            generated, real = images, partners
        ratio, ends = _ratio(values, groups, generated, real)
        result[source] = Gap(ratio - 1, ends and (ends[0] - 1, ends[1] - 1), len(generated), is_paired)
    return result


def match_reals(
    table: pa.Table, generated: NDArray[np.intp], real: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Generated images, each with the real image of its own photograph: that itself, or what was made from it.

    Args:
        table: `key` and `derived_from`.
        generated: Positions of the generated images.
        real: Positions of the real ones.

    Returns:
        Positions, (pairs,), of generated images that have a partner, and of the partners.
    """
    keys, photographs = (table[name].to_pylist() for name in ("key", "derived_from"))
    partners = {photographs[i] or keys[i]: i for i in real.tolist()}
    pairs = [(i, partners[photographs[i]]) for i in generated.tolist() if photographs[i] in partners]
    positions = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    return positions[:, 0], positions[:, 1]


def _ratio(
    values: NDArray[np.float64], groups: NDArray[np.generic], ours: NDArray[np.intp], theirs: NDArray[np.intp]
) -> tuple[float, tuple[float, float] | None]:
    """Mean of our values over that of theirs, and its interval by groups, which both may share."""
    n, both = len(ours), np.concatenate([ours, theirs])
    resampled = []
    for weights in group_weights(groups[both], NUM_RESAMPLES, seed=0):
        one, other = weights[:, :n], weights[:, n:]
        with np.errstate(invalid="ignore"):  # 0 / 0 where a resample has none of a side
            resampled.append((one @ values[ours] / one.sum(axis=1)) / (other @ values[theirs] / other.sum(axis=1)))
    low, high = interval(np.concatenate(resampled))
    return float(values[ours].mean() / values[theirs].mean()), None if np.isnan(low) else (low, high)


def describe_share(gaps: Gaps) -> str:
    """Of how many sources the mean LaRE is lower than that of real images at some timestep: "3 of 4"."""
    sources = next(iter(gaps.values()))
    num_lower = sum(any(by_source[source].sign == -1 for by_source in gaps.values()) for source in sources)
    return f"{num_lower} of {len(sources)}"


def describe_signs(gaps: Gaps) -> str:
    """At which timesteps each source's mean LaRE is higher, not told apart and lower; what fails most comes first."""
    words = {1: "higher at", 0: "not told apart at", -1: "lower at"}
    sources = next(iter(gaps.values()))
    signs = {source: {t: by_source[source].sign for t, by_source in gaps.items()} for source in sources}
    texts = []
    for source in sorted(signs, key=lambda source: -sum(signs[source].values())):
        parts = []
        for sign, word in words.items():
            found = [str(t) for t, each in signs[source].items() if each == sign]
            if found:
                where = "every t" if len(found) == len(gaps) else f"t = {', '.join(found)}"
                parts.append(f"{word} {where}".replace("not told apart at every t", "told apart at no t"))
        texts.append(f"{source}: {', '.join(parts)}")
    num_failed = sum(min(by_timestep.values()) > -1 for by_timestep in signs.values())
    head = (
        f"At no timestep is the mean LaRE of {num_failed} of {len(signs)} image sources told to be lower than that of "
        "real images"
        if num_failed
        else "For every image source there is a timestep at which its mean LaRE is lower than that of real images"
    )
    return f"{head} ({'; '.join(texts)})."


def tabulate_gaps(gaps: Gaps) -> Table:
    """The gap by source and timestep."""
    first = next(iter(gaps.values()))
    paired = ", ".join(source for source, gap in first.items() if gap.is_paired) or "none"
    return Table(
        "Gap of the mean LaRE: generated over real, less 1",
        ("image source", "n", *(f"t = {t}" for t in gaps)),
        tuple(
            (source, n, *(with_interval(by[source].relative, by[source].interval, 3) for by in gaps.values()))
            for source, n in ((source, gap.n) for source, gap in first.items())
        ),
        "Test images; 95 % interval by group. Below 0 the error of generated images is the lower one. Paired with the "
        f"real image of their own photograph: {paired}.",
    )


def draw_gaps(gaps: Gaps) -> Chart:
    """The gap over the timestep."""
    curves = []
    for source in next(iter(gaps.values())):
        along = [by_source[source] for by_source in gaps.values()]
        ends = [gap.interval for gap in along]
        curves.append(Curve.with_intervals(source, gaps, [gap.relative for gap in along], ends))
    label = "generated over real, less 1"
    return Chart("Gap of the mean LaRE", "timestep t", label, tuple(curves), log_x=True, reference=0.0)
