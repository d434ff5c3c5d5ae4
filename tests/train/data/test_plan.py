from typing import Any

import numpy as np
import pytest

from train.data.plan import TrainingPlan, derangement, evaluation_plan, num_training_steps, seeded_rng, seeded_uniforms

TARS = np.repeat(np.arange(11), [7, 5, 7, 1, 7, 7, 3, 7, 7, 7, 2])


def training_plan(tars: np.ndarray, *, ranks: int, batch_size: int, **settings: Any) -> np.ndarray:
    """The batches of all ranks, (ranks, steps, batch_size), of samples whose tars are given in their order."""
    counts = np.bincount(tars) if len(tars) else np.zeros(0, int)
    plans = [TrainingPlan(counts, rank=r, ranks=ranks, batch_size=batch_size, **settings) for r in range(ranks)]
    batches = [np.array([*each.batches()], np.int64).reshape(len(each), batch_size) for each in plans]
    return np.stack(batches)


def plan(epoch: int = 0, seed: int = 0, ranks: int = 1, batch_size: int = 4, block_tars: int = 3) -> np.ndarray:
    return training_plan(TARS, seed=seed, epoch=epoch, batch_size=batch_size, ranks=ranks, block_tars=block_tars)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_training_plan_has_every_sample_at_most_once_and_drops_less_than_a_global_batch(ranks: int) -> None:
    batches = plan(ranks=ranks)
    assert batches.shape == (ranks, num_training_steps(len(TARS), 4, ranks), 4)
    assert len(np.unique(batches)) == batches.size
    assert 0 <= len(TARS) - batches.size < ranks * 4


def test_training_plan_drops_other_samples_in_other_epochs() -> None:
    dropped = [frozenset(range(len(TARS))) - frozenset(plan(epoch, ranks=2, batch_size=11).flat) for epoch in range(20)]
    assert {len(d) for d in dropped} == {len(TARS) % 22}
    assert len(set(dropped)) == 20
    assert len(frozenset.union(*dropped)) > len(TARS) / 2


@pytest.mark.parametrize(("block_tars", "ranks"), [(1, 1), (3, 1), (1, 2)])
def test_training_plan_drops_samples_of_small_and_large_tars_alike(block_tars: int, ranks: int) -> None:
    # Small tars' samples sat out 2.5 times as often as others while the end of the last block was dropped.
    sizes = np.array([200, 8, 200, 8, 8, 200, 8, 8])
    tars, epochs = np.repeat(np.arange(8), sizes), 400
    sat_out = np.zeros(len(tars))
    settings = {"seed": 0, "batch_size": 30, "ranks": ranks, "block_tars": block_tars}
    for epoch in range(epochs):
        taken = training_plan(tars, epoch=epoch, **settings).ravel()
        assert len(taken) == len(np.unique(taken)) == len(tars) // (30 * ranks) * 30 * ranks
        sat_out += ~np.isin(np.arange(len(tars)), taken)
    share, expected = sat_out / epochs, len(tars) % (30 * ranks) / len(tars)
    small = np.isin(tars, np.flatnonzero(sizes == 8))
    deviation = (expected * (1 - expected) / (epochs * small.sum())) ** 0.5
    assert abs(share[small].mean() - expected) < 5 * deviation
    assert abs(share[~small].mean() - expected) < 5 * deviation


def test_training_plan_depends_on_seed_epoch_and_ranks_only() -> None:
    assert (plan() == plan()).all()
    others = [plan(epoch=1), plan(seed=1), plan(ranks=2)[0]]
    assert all(not np.array_equal(plan()[0, : len(o)], o) for o in others)


def test_training_plan_keeps_a_rank_on_one_block_of_tars_at_a_time() -> None:
    # Four blocks of three tars or fewer: a rank that walks through its batches goes back to no block it has left.
    tars = np.repeat(np.arange(12), 6)
    (batches,) = training_plan(tars, seed=0, epoch=0, batch_size=1, ranks=1, block_tars=3)
    first = {tar: np.flatnonzero(tars[batches[:, 0]] == tar).min() for tar in range(12)}
    blocks = np.sort(list(first.values())).reshape(4, 3) // 18
    assert (blocks == np.arange(4)[:, None]).all()
    assert len(np.unique(tars[batches[:18, 0]])) == 3
    assert (np.diff(tars[batches[:18, 0]]) != 0).sum() > 3  # shuffled within, not tar by tar


def test_training_plan_gives_ranks_different_tars() -> None:
    tars = np.repeat(np.arange(8), 6)
    first, second = (
        set(tars[part].flat) for part in training_plan(tars, seed=0, epoch=0, batch_size=6, ranks=2, block_tars=8)
    )
    assert not first & second and len(first | second) == 8


def test_training_plan_of_too_few_samples_has_no_steps() -> None:
    assert training_plan(np.zeros(5, int), seed=0, epoch=0, batch_size=3, ranks=2, block_tars=8).shape == (2, 0, 3)
    assert training_plan(np.zeros(0, int), seed=0, epoch=0, batch_size=3, ranks=2, block_tars=8).shape == (2, 0, 3)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_a_plan_goes_on_from_any_step(ranks: int, batch_size: int) -> None:
    counts = np.bincount(TARS)
    for rank in range(ranks):
        settings = {"rank": rank, "ranks": ranks, "batch_size": batch_size, "block_tars": 2}
        one = TrainingPlan(counts, seed=3, epoch=1, **settings)
        whole = [batch.tolist() for batch in one.batches()]
        assert len(whole) == len(one)
        for start in range(len(one) + 1):
            assert [batch.tolist() for batch in one.batches(start)] == whole[start:]


def test_a_rank_works_out_its_own_blocks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred million samples, 64 ranks: the first batch asks for the order of a block and of no more."""
    counts = np.full(24_415, 4096)
    asked: list[int] = []
    of_tar = TrainingPlan._of_tar

    def count(self: TrainingPlan, tar: int, begin: int, until: int) -> np.ndarray:
        asked.append(tar)
        return of_tar(self, tar, begin, until)

    monkeypatch.setattr(TrainingPlan, "_of_tar", count)
    seen = []
    for rank in (0, 7, 63):
        one = TrainingPlan(counts, seed=0, epoch=2, batch_size=48, rank=rank, ranks=64, block_tars=8)
        assert len(one) == 24_415 * 4096 // (48 * 64)
        seen.append(next(iter(one.batches())))
        seen.append(next(iter(one.batches(len(one) - 1))))
    assert len(asked) <= 6 * 8
    assert len(np.unique(np.concatenate(seen))) == 6 * 48


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("num_samples", [0, 1, 2, 5, 8, 9, 12, 13, 24, 25, 50])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_evaluation_plan_has_every_sample_exactly_once(num_samples: int, ranks: int, batch_size: int) -> None:
    plans = [evaluation_plan(num_samples, batch_size=batch_size, rank=r, ranks=ranks) for r in range(ranks)]
    batches = [batch for part in plans for batch in part]
    assert np.concatenate([np.empty(0, int), *batches]).tolist() == list(range(num_samples))
    assert all(0 < len(batch) <= batch_size for batch in batches)


def test_evaluation_plan_gives_ranks_the_same_number_of_batches() -> None:
    # 9 samples over 2 ranks: 5 and 4. Four fit into one batch, but the other rank has two.
    assert [b.tolist() for b in evaluation_plan(9, batch_size=4, rank=0, ranks=2)] == [[0, 1, 2, 3], [4]]
    assert [b.tolist() for b in evaluation_plan(9, batch_size=4, rank=1, ranks=2)] == [[5, 6, 7], [8]]


def test_derangement_moves_every_sample_within_its_tar() -> None:
    tars = np.repeat([3, 5, 6], [4, 2, 7])
    source = derangement(tars, seed=0)
    assert sorted(source) == list(range(13))
    assert (source != np.arange(13)).all()
    assert (tars[source] == tars).all()
    assert (source == derangement(tars, seed=0)).all()
    assert (source != derangement(tars, seed=1)).any()


@pytest.mark.parametrize("sizes", [[1, 4], [4, 1], [1, 1], [1, 1, 5, 1, 1, 3], []])
def test_derangement_pairs_a_lone_sample_with_a_neighbouring_tar(sizes: list[int]) -> None:
    tars = np.repeat(np.arange(len(sizes)), np.array(sizes, dtype=int))
    source = derangement(tars, seed=0)
    assert sorted(source) == list(range(sum(sizes)))
    assert (source != np.arange(sum(sizes))).all()


def test_derangement_of_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two samples"):
        derangement(np.array([0]), seed=0)


def test_seeded_rng_is_a_function_of_its_parts() -> None:
    # Golden: another stream would move the order of every run.
    assert seeded_rng("canvas", 0, 1, "a/b%2Epng").integers(0, 1000, size=4).tolist() == [135, 374, 765, 880]
    assert seeded_rng("a", 1).random() != seeded_rng("a", 2).random()


def test_seeded_uniforms_are_a_function_of_their_parts() -> None:
    # Golden: other numbers would move the crops of every run.
    numbers = seeded_uniforms("canvas", 0, 1, "a/b%2Epng")
    assert [int(number * 1000) for number in numbers] == [163, 700, 235, 579]
    assert seeded_uniforms("a", 1) != seeded_uniforms("a", 2)


def test_seeded_uniforms_fill_the_unit_interval_evenly_and_independently() -> None:
    drawn = np.array([seeded_uniforms("a", i) for i in range(4000)])
    assert 0 <= drawn.min() < 0.001 and 0.999 < drawn.max() < 1
    assert (drawn * 2**53 % 1 == 0).all()
    counts = [np.histogram(numbers, bins=10, range=(0, 1))[0] for numbers in drawn.T]
    assert np.abs(np.array(counts) - 400).max() < 100  # five standard deviations
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.08
