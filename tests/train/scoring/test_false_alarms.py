"""Conformal p-values: by hand, and whether they keep their promise on simulated photographs."""

import json
from typing import Any

import numpy as np
import pytest

from train.scoring.false_alarms import MAX_PHOTOGRAPHS, Photographs, choose_by_hash


def test_each_photograph_a_group_of_its_own_gives_the_plain_p_value() -> None:
    photographs = Photographs.of([0.3, 0.1, 0.2, 0.2], ["a", "b", "c", "d"])
    for score, above in ((0.05, 4), (0.1, 4), (0.15, 3), (0.2, 3), (0.25, 1), (0.3, 1), (0.31, 0)):
        assert photographs.p_real(score) == pytest.approx((1 + above) / 5), score
    assert photographs.smallest_rate == 1 / 5 == photographs.p_real(1.0)


def test_a_photograph_counts_for_its_share_of_its_group() -> None:
    photographs = Photographs.of([0.1, 0.9, 0.8, 0.7, 0.2], ["a", "a", "a", "a", "b"])
    assert photographs.num_groups == 2 and photographs.smallest_rate == 1 / 3
    assert photographs.p_real(0.75) == pytest.approx((1 + 2 / 4) / 3)
    assert photographs.p_real(0.15) == pytest.approx((1 + 3 / 4 + 1) / 3)
    assert photographs.p_real(0.0) == 1


def simulate(num_groups: int, sizes: np.ndarray, *, rng: np.random.Generator) -> tuple[Photographs, float]:
    """Photographs whose scores share their group's mean, and the score of one of a new group."""
    means = rng.normal(size=num_groups + 1)
    groups = np.repeat(np.arange(num_groups), sizes)
    scores = means[groups] + 0.3 * rng.normal(size=len(groups))
    return Photographs.of(scores.tolist(), list(map(str, groups))), float(means[-1] + 0.3 * rng.normal())


@pytest.mark.parametrize("is_grouped", [False, True])
def test_at_most_the_chosen_share_of_exchangeable_photographs_is_called_generated(is_grouped: bool) -> None:
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(4000):
        sizes = rng.integers(1, 30, 60) if is_grouped else np.ones(60, dtype=int)
        photographs, score = simulate(60, sizes, rng=rng)
        p_values.append(photographs.p_real(score))
    for rate in (0.05, 0.1, 0.3):
        realised = np.mean(np.asarray(p_values) <= rate)
        assert rate - 0.03 < realised < rate + 3 * np.sqrt(rate * (1 - rate) / 4000), (rate, realised)


def test_counting_photographs_of_few_groups_as_independent_would_break_the_promise() -> None:
    rng = np.random.default_rng(1)
    counted = []
    for _ in range(2000):
        photographs, score = simulate(4, np.full(4, 50), rng=rng)
        as_independent = (1 + sum(s >= score for s in photographs.scores)) / 201
        counted.append((as_independent <= 0.05, photographs.p_real(score) <= 0.05))
    independent, grouped = np.mean(counted, axis=0)
    assert independent > 0.1 and grouped == 0  # four groups cannot support 5 %


def test_it_comes_back_from_json_the_same() -> None:
    photographs = Photographs.of([0.3, 0.1 + 0.2, 1e-17], ["x", "y", "x"])
    assert Photographs.from_dict(json.loads(json.dumps(photographs.to_dict()))) == photographs


def test_many_groups_keep_their_numbers_so_that_a_description_keeps_its_identity() -> None:
    photographs = Photographs.of([i / 40 for i in range(40)], [f"scene {i % 25}" for i in range(40)])
    assert photographs.num_groups == 25
    assert Photographs.from_dict(json.loads(json.dumps(photographs.to_dict()))) == photographs


def test_photographs_that_say_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no validation photographs"):
        Photographs.of([], [])
    with pytest.raises(ValueError, match="1 of 2 validation scores are not finite"):
        Photographs.of([0.1, float("nan")], ["a", "b"])


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        {"scores": [0.1], "groups": []},
        {"scores": [], "groups": []},
        {"scores": ["x"], "groups": [0]},
        {"scores": [float("inf")], "groups": [0]},
        {"scores": [0.1] * (MAX_PHOTOGRAPHS + 1), "groups": [0] * (MAX_PHOTOGRAPHS + 1)},
        {"scores": 3, "groups": 3},
    ],
)
def test_a_strangers_content_is_refused(content: Any) -> None:
    with pytest.raises(ValueError, match="its validation photographs cannot be read"):
        Photographs.from_dict(content)


def test_the_choice_by_hash_depends_on_no_order() -> None:
    keys = [f"key-{i}" for i in range(50)]
    chosen = {keys[i] for i in choose_by_hash(keys, 10)}
    assert len(chosen) == 10 and chosen == {keys[::-1][i] for i in choose_by_hash(keys[::-1], 10)}
    assert choose_by_hash(keys, 50).tolist() == list(range(50)) == choose_by_hash(keys, 99).tolist()
