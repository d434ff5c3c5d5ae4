"""What the answer on verdicts calls significant: all its comparisons together, as `experiments.answers.rule` has it.

They are about the detectors that were asked, not about their recipes: there are no seeds, and the images alone decide.
"""

from collections.abc import Mapping
from typing import Any

from scipy.special import betainc  # type: ignore[import-untyped]

from experiments.answers.rule import Value, p_value
from experiments.answers.telling import Numbers
from experiments.answers.verdicts import side_of
from experiments.verdicts.shares import DOMAIN
from train.scoring.holm import holm

SHARES = {"side": "generated", "p_side": "p_real"}
"""Side of a rule's false alarms → the share that it is of."""


def p_of_share(share: Mapping[str, Any], rate: float) -> float:
    """Two-sided p-value of a share of groups against a rate: exact binomial, as its interval.

    Args:
        share: As of `share_of_groups`.
        rate: Between 0 and 1.
    """
    n = share["n_groups"]
    total = share["share"] * n
    at_least = float(betainc(total, n - total + 1, rate)) if total > 0 else 1.0
    at_most = 1 - float(betainc(total + 1, n - total, rate)) if total < n else 1.0
    return min(1.0, 2 * min(at_least, at_most))


def correct(found: Numbers) -> dict[str, Any]:
    """The numbers with each side that is not significant among all of the answer's set to 0.

    The sides are those of false alarms, of controls at the smallest rate ("side" beside their shares), and of noise.
    What has no p-value, as nothing varies, keeps its side.
    """
    sets = {name: _with_control_sides(one) for name, one in found["sets"].items()}
    p_values: dict[tuple[str, ...], float | None] = {}
    for name, one in sets.items():
        for i, alarm in enumerate(one["false_alarms"]):
            for side, share in SHARES.items():
                p_values[name, "alarm", str(i), side] = p_of_share(alarm[share], alarm["used"])
        p_values[name, "noise"] = p_value(_as_value(one["noise"]["excess"]))
        for source, check, shares, rate in _list_controls(one):
            p_values[name, "control", source, check] = p_value(_as_value(shares | {"mean": shares["generated"]}), rate)
    kept = holm({key: p for key, p in p_values.items() if p is not None})
    kept |= {key for key, p in p_values.items() if p is None}
    for name, one in sets.items():
        one["false_alarms"] = [
            alarm | {side: alarm[side] if (name, "alarm", str(i), side) in kept else 0 for side in SHARES}
            for i, alarm in enumerate(one["false_alarms"])
        ]
        if (name, "noise") not in kept:
            one["noise"] = {**one["noise"], "excess": {**one["noise"]["excess"], "side": 0}}
        for source, check, shares, _ in _list_controls(one):
            if (name, "control", source, check) not in kept:
                shares["side"] = 0
    return {**found, "sets": sets}


def _with_control_sides(one: Numbers) -> dict[str, Any]:
    """A copy of a set's numbers, as deep as sides are set in it."""
    verdicts = {}
    for source, each in one["verdicts"].items():
        first = dict(each["rates"][0])
        for check in DOMAIN:
            first[check] = {**first[check], "side": side_of(first[check]["interval"], first["used"])}
        verdicts[source] = {**each, "rates": [first, *each["rates"][1:]]}
    return {**one, "verdicts": verdicts}


def _list_controls(one: Numbers) -> list[tuple[str, str, dict[str, Any], float]]:
    """Control, name of `DOMAIN`, its shares and the rate, at the smallest rate."""
    first = {source: each["rates"][0] for source, each in one["verdicts"].items() if each["label"] is None}
    return [(source, check, at[check], at["used"]) for source, at in first.items() for check in DOMAIN]


def _as_value(share: Mapping[str, Any]) -> Value:
    known = {name: share.get(name) for name in ("interval", "n_groups")}
    return {"mean": share["mean"], "sd": None, "num_seeds": 0, **known}
