"""Which photographs the regression sees, which scores pictures are compared with, and what that promises."""

from dataclasses import replace

import numpy as np
import pytest

from detect.calibrate import describing
from detect.calibrate.describing import choose_fitted, measure_facts, score_photographs
from detect.detail import Detail
from tests.detect.calibrate.makers import make_measured


def test_no_score_is_of_a_photograph_that_the_regression_has_seen() -> None:
    measured = make_measured(90)
    fitted = choose_fitted(measured)
    photographs, detail = score_photographs(measured, "detail", "file")
    assert detail is not None and int(fitted.sum()) == 30
    assert (detail.num_photographs, detail.num_groups, len(photographs.scores)) == (30, 30, 60)
    seen = [one for one, is_fitted in zip(measured, fitted, strict=True) if is_fitted]
    alone = Detail.fit(
        np.array([one.detail for one in seen]),
        np.array([one.mean_lare for one in seen]),
        num_groups=30,
        group_by="file",
    )
    assert alone == detail
    others = [one for one in measured if one not in seen]
    scores = detail.score(np.array([one.detail for one in others]), np.array([one.mean_lare for one in others]))
    assert photographs.scores == pytest.approx(sorted(scores))


def test_a_group_is_on_one_side_and_counted_once() -> None:
    measured = make_measured(120, group_size=4)
    fitted = choose_fitted(measured)
    sides = {one.group: set() for one in measured}
    for one, is_fitted in zip(measured, fitted.tolist(), strict=True):
        sides[one.group].add(is_fitted)
    assert all(len(each) == 1 for each in sides.values()) and sum(True in each for each in sides.values()) == 10
    photographs, detail = score_photographs(measured, "detail", "folder")
    assert detail is not None and (detail.num_groups, photographs.num_groups) == (10, 20)


def test_names_and_order_do_not_move_the_halves() -> None:
    measured = make_measured(60, group_size=2)
    renamed = [replace(one, name="x", group=f"other {one.group}") for one in measured]
    assert choose_fitted(renamed).tolist() == choose_fitted(measured).tolist()
    assert choose_fitted(measured[::-1]).tolist() == choose_fitted(measured)[::-1].tolist()


def test_a_large_group_is_as_likely_as_a_small_one_to_be_fitted_on() -> None:
    large_ones = []
    for seed in range(300):
        measured = make_measured(48, seed)
        grouped = [replace(one, group="large") if n < 40 else one for n, one in enumerate(measured)]
        large_ones.append(bool(choose_fitted(grouped)[0]))  # three of nine groups
    assert 0.25 < np.mean(large_ones) < 0.42


def test_p_values_of_new_photographs_are_uniform() -> None:
    p_values = []
    for seed in range(300):
        photographs, detail = score_photographs(make_measured(90, seed), "detail", "file")
        assert detail is not None
        new = make_measured(20, 10_000 + seed)
        scores = detail.score(np.array([one.detail for one in new]), np.array([one.mean_lare for one in new]))
        p_values += [photographs.p_real(score) for score in scores]
    for rate in (0.05, 0.1, 0.25, 0.5, 0.75):
        supported = np.floor(rate * 61) / 61  # p-values are multiples of 1/61
        assert np.mean(np.array(p_values) <= rate) == pytest.approx(supported, abs=0.02)


def test_photographs_of_new_groups_are_called_generated_at_most_at_the_rate() -> None:
    small = []
    for seed in range(200):
        photographs, detail = score_photographs(make_measured(240, seed, group_size=4), "detail", "folder")
        assert detail is not None
        new = make_measured(4, 10_000 + seed, group_size=4)
        scores = detail.score(np.array([one.detail for one in new]), np.array([one.mean_lare for one in new]))
        small.append(np.mean([photographs.p_real(score) <= 0.1 for score in scores]))
    assert 0.02 < np.mean(small) < 0.1 + 0.03


def test_the_mean_alone_needs_no_regression_and_scores_all() -> None:
    measured = make_measured(12)
    photographs, detail = score_photographs(measured, "mean", "file")
    assert detail is None
    assert photographs.scores == pytest.approx(sorted(-one.mean_lare for one in measured))


def test_of_very_many_photographs_some_are_kept_by_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "MAX_PHOTOGRAPHS", 25)
    measured = make_measured(90)
    kept, backwards = (score_photographs(order, "detail", "file")[0] for order in (measured, measured[::-1]))
    assert len(kept.scores) == 25 and backwards.scores == pytest.approx(kept.scores)


def test_too_few_are_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="there are no usable photographs"):
        score_photographs([], "detail", "file")
    with pytest.raises(
        ValueError, match=r"57 usable .*, 19, are for .* needs 20\. Give 60 or more, or set --score mean"
    ):
        score_photographs(make_measured(57), "detail", "file")
    assert len(score_photographs(make_measured(60), "detail", "file")[0].scores) == 40
    with pytest.raises(ValueError, match=r"8 groups .* below 11\.11%: expected 9 groups or more, for 10%"):
        score_photographs(make_measured(8), "mean", "file")
    with pytest.raises(ValueError, match=r"scores of 4 groups .* below 20\.00%"):
        score_photographs(make_measured(60, group_size=10), "detail", "folder")


def test_facts_are_of_all_photographs() -> None:
    measured = make_measured(90)
    facts = measure_facts(measured)
    assert facts.num_images == 90 and facts.formats == {"PNG": 45, "JPEG": 45}
    assert facts.ranges["short_side_px"] == (480, 480) and facts.ranges["jpeg_quality"] == (90, 90)
    long = [one.image.width for one in measured]
    assert facts.ranges["long_side_px"] == pytest.approx(np.quantile(long, [0.005, 0.995]))
    for name in ("mean_lare", "gradient_energy"):
        values = [getattr(one, name) for one in measured]
        assert facts.ranges[name] == pytest.approx(np.quantile(values, [0.005, 0.995]))
