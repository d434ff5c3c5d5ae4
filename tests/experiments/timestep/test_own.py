import numpy as np
import pyarrow as pa
import pytest

from experiments.answers.rule import Comparison, Verdict, judge
from experiments.timestep.own import choose_half, compare_own
from train.scoring.calibration import Calibration
from train.scoring.scores import Reading

SOURCES = ("a", "b", "c", "d")


def make_readings(
    scores: np.ndarray, sources: tuple[str, ...] = SOURCES, timesteps: tuple[int, ...] = (50, 100, 200, 400)
) -> dict[int, Reading]:
    """Scores (timesteps, groups, 1 + sources): of each group a photograph and an image of each source."""
    _, num_groups, width = scores.shape
    columns = {
        "key": [str(i) for i in range(num_groups * width)],
        "label": pa.array([0, *[1] * len(sources)] * num_groups, pa.int8()),
        "image_source": ["real", *sources] * num_groups,
        "subset": ["set"] * (num_groups * width),
        "group": np.repeat([f"g{i}" for i in range(num_groups)], width),
    }
    table = pa.table(columns)
    readings = (Reading(table, each.reshape(1, -1), (Calibration(0.0),), is_probability=False) for each in scores)
    return dict(zip(timesteps, readings, strict=True))


def test_halves_are_of_whole_groups_and_of_equal_size() -> None:
    groups = np.repeat([f"g{i}" for i in range(31)], 3)
    half = choose_half(groups)
    assert half.sum() in (45, 48) and all(len(set(half[groups == group])) == 1 for group in set(groups))
    assert (choose_half(groups[::-1])[::-1] == half).all()


def test_the_own_timestep_is_chosen_on_one_half_and_tested_on_the_other() -> None:
    num_groups = 40
    half = choose_half(np.array([f"g{i}" for i in range(num_groups)]))
    scores = np.zeros((2, num_groups, 2))
    scores[0, :, 1] = np.where(half, 1.0, -1.0)  # the first timestep is perfect on the first half, and inverted after
    readings = make_readings(scores, ("a",), (50, 200))
    found = compare_own(readings, 200)["a"]
    assert found["own"] == 50 and found["lost"]["mean"] == pytest.approx(0.0 - 0.5)
    assert [each["mean"] for each in found["aurocs"]] == [0.0, 0.5] and found["lost"]["n_groups"] == 20


def test_a_half_without_a_class_has_no_own_timestep() -> None:
    readings = make_readings(np.zeros((2, 1, 2)), ("a",), (50, 200))
    assert compare_own(readings, 200) == {"a": {"own": None, "lost": None, "aurocs": None}}


@pytest.mark.slow
def test_among_equal_timesteps_hardly_any_source_loses() -> None:
    """Chosen and tested on the same images, some source loses in more than half of such simulations."""
    rng, num_runs, num_lost = np.random.default_rng(0), 200, 0
    for _ in range(num_runs):
        shared = rng.normal(size=(1, 60, 1 + len(SOURCES)))
        scores = shared + 0.5 * rng.normal(size=(8, 60, 1 + len(SOURCES)))
        scores[:, :, 1:] += 1.0
        readings = make_readings(scores, timesteps=(50, 100, 200, 300, 400, 500, 700, 900))
        found = compare_own(readings, 200)
        compared = {
            s: Comparison(each["lost"], aurocs=tuple(each["aurocs"])) for s, each in found.items() if each["own"] != 200
        }
        num_lost += Verdict.BETTER in judge(compared).values()
    assert num_lost / num_runs <= 0.06
