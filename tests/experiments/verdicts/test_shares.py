import numpy as np
import pytest

from detect.decide import Rule
from experiments.verdicts.shares import (
    chance_range,
    follow_p_values,
    list_rules,
    measure_false_alarms,
    measure_verdicts,
    share_of_groups,
)
from tests.experiments.verdicts.made_up import DESCRIPTION, FORMAT, GENERATED, REAL, UNSURE, seen


def test_rates_that_are_not_supported_come_to_the_smallest_one() -> None:
    (smallest, asked), (rule, alone) = list_rules(DESCRIPTION, (0.05, 0.005, 0.001))
    assert (smallest.rate, asked) == (0.01, [0.001, 0.005])
    assert (rule.rate, alone) == (0.05, [0.05])


def test_every_group_counts_the_same() -> None:
    hits, groups = np.array([True, True, True, False, False]), np.array(["a", "a", "a", "a", "b"])
    value = share_of_groups(hits, groups)
    assert value["share"] == pytest.approx((3 / 4 + 0) / 2)
    assert (value["num_hits"], value["num_images"], value["n_groups"]) == (3, 5, 2)
    assert value["interval"][0] < value["share"] < value["interval"][1]


@pytest.mark.parametrize(
    ("hits", "low", "high"),
    [(0, 0.0, 1 - 0.025 ** (1 / 10)), (1, 0.0025, 0.4450), (10, 0.025 ** (1 / 10), 1.0)],  # Clopper and Pearson 1934
)
def test_the_interval_is_the_exact_binomial_one(hits: int, low: float, high: float) -> None:
    value = share_of_groups(np.arange(10) < hits, np.arange(10).astype(str))
    assert value["interval"] == pytest.approx([low, high], abs=5e-5)


def test_range_of_chance() -> None:
    assert chance_range(0.5, 1, 99) == [2 / 99, 97 / 99]  # with one validation group every number is equally likely
    low, high = chance_range(0.05, 10**6, 1000)  # with many it is the binomial range
    assert (low, high) == pytest.approx((0.037, 0.064))


def test_false_alarms_of_photographs() -> None:
    """Of ten photographs one is called generated, one has a small p_real within the band, one is unlike training."""
    scores = [GENERATED, UNSURE, *[REAL] * 7]
    photographs = [seen(f"k{i}", score) for i, score in enumerate(scores)]
    photographs.append(seen("odd", GENERATED, unlike=FORMAT))
    (alarm,) = measure_false_alarms(photographs, [(Rule(DESCRIPTION, 0.01), [0.01])])
    assert (alarm["asked"], alarm["used"]) == ([0.01], 0.01)
    assert alarm["generated"]["share"] == pytest.approx(0.1) and alarm["generated"]["num_hits"] == 1
    assert alarm["p_real"]["share"] == pytest.approx(0.3)
    assert alarm["chance"] == chance_range(0.01, 99, 10)
    assert alarm["side"] == 0  # 0.25 to 44.5 % holds 1 %
    assert alarm["p_side"] == 1 and alarm["p_real"]["interval"][0] > 0.01  # 6.7 to 65 %
    assert alarm["chance_side"] == 1 and alarm["chance"][1] < 0.3


@pytest.mark.parametrize(("num_alarms", "side"), [(0, 0), (1, 0), (2, 1), (10, 1)])
def test_an_excess_is_significant_where_the_whole_interval_lies_above_the_rate(num_alarms: int, side: int) -> None:
    photographs = [seen(f"k{i}", GENERATED if i < num_alarms else REAL) for i in range(10)]
    (alarm,) = measure_false_alarms(photographs, [(Rule(DESCRIPTION, 0.01), [0.01])])
    assert alarm["side"] == side


def test_too_few_are_seen_too() -> None:
    photographs = [seen(f"k{i}", REAL) for i in range(100)]
    (alarm,) = measure_false_alarms(photographs, [(Rule(DESCRIPTION, 0.1), [0.1])])
    assert alarm["side"] == alarm["p_side"] == alarm["chance_side"] == -1 and alarm["generated"]["interval"][1] < 0.1


def test_p_values_are_followed_from_the_smallest_rate_up() -> None:
    photographs = [seen("a", 0.99), seen("b", 0.0975), seen("c", 0.0495), seen("d", 0.0)]  # 1, 2, 50 and 100 of 100
    points = {point["rate"]: point["share"] for point in follow_p_values(photographs, 0.02)}
    assert min(points) == 0.02 and points[0.02] == 0.5 and points[0.3] == 0.5 and points[0.5] == 0.75


def test_shares_of_verdicts_with_and_without_the_domain_check() -> None:
    images = [
        *(seen("a", GENERATED, 1), seen("b", GENERATED, 1, unlike=FORMAT), seen("c", UNSURE, 1), seen("d", REAL, 1)),
        *(seen("e", GENERATED, None), seen("f", REAL, None, unlike=FORMAT)),
    ]
    found = measure_verdicts(images, list_rules(DESCRIPTION, (0.01, 0.5)))
    assert {name: (each["label"], each["num_images"]) for name, each in found.items()} == {
        "toy": (1, 4),
        "control": (None, 2),
    }
    at = found["toy"]["rates"][0]
    shares = {
        check: {verdict: at[check][verdict] for verdict in ("generated", "unsure", "real")}
        for check in ("checked", "unchecked")
    }
    assert shares["checked"] == {"generated": 0.25, "unsure": 0.5, "real": 0.25}
    assert shares["unchecked"] == {"generated": 0.5, "unsure": 0.25, "real": 0.25}
    assert at["checked"]["interval"][0] <= 0.25 <= at["checked"]["interval"][1]
    control = found["control"]["rates"][0]["checked"]
    assert (control["generated"], control["real"]) == (0.5, 0.5)  # unlike the training, it is still called real
    # a score of 0.05 is above half of the validation photographs: with half of all allowed it is unsure, below the band
    assert found["toy"]["rates"][1]["checked"]["real"] == 0.0
