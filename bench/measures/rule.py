"""How often the rule of comparisons finds a difference between equal recipes, and one that is there: a simulation.

`python -m bench.measures.rule` prints the table of docs/comparing.md. A repetition draws a test set and the scores of
two recipes' detectors. AUROCs, their jackknife over groups and the verdict are those of a question's answer.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm  # type: ignore[import-untyped]

from experiments.answers.markdown import table
from experiments.answers.rule import Verdict, judge_one
from experiments.study.over_sources import Means
from train.scoring.intervals import leave_out_weights

PER_GROUP = 2
"""Photographs of a group, and as many generated images."""
SHARED, OF_RECIPE, OF_SEED = 0.5, 0.25, 0.25
"""Variance of a score that all detectors share, that the detectors of a recipe share, and that is a seed's own."""
SEED_NOISE = {"little": 0.02, "much": 0.3}
"""Standard deviation of a detector's separation over seeds, the standard deviation of a score being 1."""
NUM_RESAMPLES = 400
"""Of the groups, for the old rule."""
GAINS = {0.7: 0.05, 0.97: 0.02}
"""AUROC → by how much the better recipe is better, where power is asked for."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """What is simulated."""

    num_seeds: int
    seed_noise: str
    """One of `SEED_NOISE`."""
    num_groups: int
    auroc: float
    """Of both recipes, or of the worse one."""
    gain: float = 0.0
    """AUROC of the better recipe less that of the other."""


CASES = tuple(Case(*each) for each in itertools.product((5, 10), SEED_NOISE, (14, 100), GAINS))
"""Of the table. Near 1 a difference of AUROCs is bounded."""


@dataclass(frozen=True)
class Found:
    """Share of the repetitions in which a difference is found."""

    by_rule: float
    by_old_rule: float
    """The interval over images excludes 0, and the difference is larger than its standard deviation over seeds."""


def draw_scores(case: Case, rng: np.random.Generator) -> Floats:
    """Scores of two recipes: (recipe, seed, class, group, image). Class 1 is generated.

    Images of a group share half of the variance that all detectors share.
    """
    shape = 2, case.num_groups, PER_GROUP
    shared = np.sqrt(SHARED / 2) * (rng.normal(size=(1, case.num_groups, 1)) + rng.normal(size=shape))
    own = np.sqrt(OF_RECIPE) * rng.normal(size=(2, 1, *shape))
    noise = np.sqrt(OF_SEED) * rng.normal(size=(2, case.num_seeds, *shape))
    aurocs = np.array([case.auroc + case.gain, case.auroc])[:, None]
    moved = SEED_NOISE[case.seed_noise] * rng.normal(size=(2, case.num_seeds))
    scores = shared + own + noise
    scores[:, :, 1] += _separate(aurocs, case.seed_noise)[..., None, None] + moved[..., None, None]
    return scores


def _separate(auroc: Floats, seed_noise: str) -> Floats:
    """Mean distance of the classes that gives this AUROC on average over seeds."""
    return norm.ppf(auroc) * np.sqrt(2 + SEED_NOISE[seed_noise] ** 2)


def count_won(scores: Floats) -> Floats:
    """Of each seed the share of pairs that the first recipe wins less that of the second: (seed, group, group).

    The pairs are of a generated image of the first group and a real one of the second, over all pairs.

    Args:
        scores: As of `draw_scores`.
    """
    _, num_seeds, _, num_groups, per_group = scores.shape
    real, generated = (scores[:, :, label].reshape(2, num_seeds, -1) for label in (0, 1))
    # Pairs of images that are won, summed over pairs of groups: no score is there twice, so that none is a tie.
    won = generated[..., :, None] > real[..., None, :]
    grouped = won.reshape(2, num_seeds, num_groups, per_group, num_groups, per_group).sum(axis=(3, 5))
    difference: Floats = (grouped[0].astype(np.float64) - grouped[1]) / (num_groups * per_group) ** 2
    return difference


def subtract(won: Floats) -> Means:
    """AUROC of the first recipe less AUROC of the second, from what `count_won` gives."""
    num_groups = won.shape[1]
    weights = np.concatenate([*leave_out_weights(np.arange(num_groups))])
    left_out = _sum_weighted(won, weights) * (num_groups / (num_groups - 1)) ** 2
    return Means(won.sum(axis=(1, 2)), left_out, num_groups, is_difference=True)


def _sum_weighted(won: Floats, weights: Floats) -> Floats:
    """The seeds' mean where each group counts as often as its weight says, (weightings,)."""
    sums: Floats = np.einsum("bg,gh,bh->b", weights, won.mean(axis=0), weights, optimize=True)
    return sums


def simulate(case: Case, repetitions: int, seed: int = 0) -> Found:
    """Repeat an experiment, and count the differences that are found."""
    rng, by_rule, by_old_rule = np.random.default_rng(seed), 0, 0
    for _ in range(repetitions):
        won = count_won(draw_scores(case, rng))
        by_rule += judge_one(subtract(won).describe()) in (Verdict.BETTER, Verdict.WORSE)
        by_old_rule += _is_found_by_old_rule(won, rng)
    return Found(by_rule / repetitions, by_old_rule / repetitions)


def _is_found_by_old_rule(won: Floats, rng: np.random.Generator) -> bool:
    """By quantiles over resampled groups, as intervals were then."""
    num_seeds, num_groups, _ = won.shape
    draws = rng.multinomial(num_groups, [1 / num_groups] * num_groups, size=NUM_RESAMPLES).astype(np.float64)
    low, high = np.quantile(_sum_weighted(won, draws), [0.025, 0.975])
    of_seeds = won.sum(axis=(1, 2))
    return bool((low > 0 or high < 0) and abs(of_seeds.mean()) > (of_seeds.std(ddof=1) if num_seeds > 1 else 0))


def as_markdown(cases: Sequence[Case], repetitions: int) -> str:
    """The table of docs/comparing.md."""
    heads = ("seeds", "seed noise", "groups", "AUROC", "false alarms", "old rule", "difference", "power")
    rows = []
    for case in cases:
        null, gain = simulate(case, repetitions), GAINS[case.auroc]
        power = simulate(replace(case, gain=gain), repetitions)
        shares = [f"{100 * share:.1f} %" for share in (null.by_rule, null.by_old_rule, power.by_rule)]
        setting = (str(case.num_seeds), case.seed_noise, str(case.num_groups), f"{case.auroc:g}")
        rows.append((*setting, *shares[:2], f"{gain:g}", shares[2]))
    return table(heads, rows)


def main(args: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.measures.rule", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=400, help="of each case (400)")
    parsed = parser.parse_args(args)
    sys.stdout.write(as_markdown(CASES, parsed.repetitions) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
