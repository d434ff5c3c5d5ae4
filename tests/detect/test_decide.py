"""The rule: who is called generated, who real, and when nobody can tell."""

import pytest

from detect.decide import OUTSIDE, Rule
from detect.verdict import Note
from train import Calibration, DetectorFile, DiffusionModelName, Photographs, ProbeFile, TrainingFacts

BANDS = ((0.45, 0.55), (0.4, 0.6), (0.3, 0.7), (0.2, 0.8), (0.1, 0.9))
UNLIKE = (Note("size", "It is large."),)


def describe(scores: list[float], *, calibrated: bool = True) -> DetectorFile:
    return DetectorFile(
        method="classifier" if calibrated else "mean_lare",
        probes=(ProbeFile("f" * 64, {"timestep": 200}, DiffusionModelName()),),
        photographs=Photographs.of(scores, [str(i) for i in range(len(scores))]),
        facts=TrainingFacts.measure(["PNG"], {}),
        calibration=Calibration(0.5, 2.0, BANDS) if calibrated else None,
    )


LOW = [i / 1000 for i in range(99)]  # 0 to 0.098: a rate of 1 % is just supported


@pytest.mark.parametrize(
    ("score", "verdict", "p_real"),
    [
        (0.05, "real", 50 / 100),
        (0.098, "real", 2 / 100),
        (0.2, "unsure", 1 / 100),  # no photograph scores as high, but it is far from generated ones too
        (0.4, "unsure", 1 / 100),
        (0.59, "unsure", 1 / 100),
        (0.6, "generated", 1 / 100),
        (0.99, "generated", 1 / 100),
    ],
)
def test_of_a_detector_whose_photographs_score_low(score: float, verdict: str, p_real: float) -> None:
    decision = Rule(describe(LOW), 0.01).decide(score, ())
    assert (decision.verdict, decision.notes) == (verdict, ())
    assert decision.p_real == pytest.approx(p_real)


def test_a_photograph_that_scores_high_protects_all_below_it() -> None:
    rule = Rule(describe([*LOW, 0.95]), 0.01)
    assert rule.decide(0.95, ()).verdict == "unsure" and rule.decide(0.951, ()).verdict == "generated"


def test_unlike_the_training_images_nobody_is_accused() -> None:
    decision = Rule(describe(LOW), 0.01).decide(0.99, UNLIKE)
    assert decision.verdict == "unsure" and decision.notes == (OUTSIDE, *UNLIKE)
    decision = Rule(describe(LOW), 0.01).decide(0.05, UNLIKE)
    assert decision.verdict == "real" and decision.notes == UNLIKE


def test_probabilities_are_scaled_and_none_without_calibration() -> None:
    decision = Rule(describe(LOW), 0.01).decide(0.9, ())
    assert decision.probability == pytest.approx(0.75)  # log-odds of 9, halved: 3 to 1
    photographs_alone = Rule(describe(LOW, calibrated=False), 0.01)
    assert photographs_alone.decide(0.9, ()) == ("generated", None, 0.01, ())
    assert photographs_alone.decide(0.01, ()).verdict == "unsure"  # it knows nothing of generated pictures


def test_the_smallest_supported_rate_is_used_and_named() -> None:
    rule = Rule(describe([0.1] * 9), 0.01)
    assert rule.rate == 0.1
    (note,) = rule.notes
    assert note.code == "false_alarm_rate" and note.text.endswith("this detector has 9, which support 10 %.")
    with pytest.raises(ValueError, match=r"Ask for a larger --false_alarm_rate, or leave --strict out"):
        rule.check_strict()
    Rule(describe(LOW), 0.01).check_strict()


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="false_alarm_rate is"):
        Rule(describe(LOW), rate)


def test_at_every_rate_at_most_this_share_of_the_photographs_themselves_is_accused() -> None:
    scores = [0.5 + i / 300 for i in range(150)]
    for rate in (0.01, 0.05, 0.1, 0.5):
        rule = Rule(describe(scores), rate)
        accused = sum(rule.decide(score, ()).verdict == "generated" for score in scores)
        assert accused <= rate * (len(scores) + 1)
