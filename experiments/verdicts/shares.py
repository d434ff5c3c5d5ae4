"""How often a verdict is given: shares of photographs, generated images and controls, with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, betabinom  # type: ignore[import-untyped]

from detect.decide import Rule
from experiments.answers.verdicts import side_of
from experiments.verdicts.seen import Seen
from train import DetectorFile
from train.scoring.intervals import share_interval

LEVEL = 0.95
VERDICTS = ("generated", "unsure", "real")
CURVE_RATES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
"""Where the realised share is compared with the nominal one, as far as the validation photographs support them."""
DOMAIN = {"checked": True, "unchecked": False}
"""Name in the numbers → whether the picture is compared with the training images."""


def list_rules(description: DetectorFile, rates: Sequence[float]) -> list[tuple[Rule, list[float]]]:
    """The rules that some rates come to, each with the rates that were asked for, ascending.

    Rates below the smallest one that the validation photographs support come to that one.
    """
    rules: dict[float, tuple[Rule, list[float]]] = {}
    for rate in sorted(rates):
        rule = Rule(description, rate)
        rules.setdefault(rule.rate, (rule, []))[1].append(rate)
    return [*rules.values()]


def measure_false_alarms(
    photographs: Sequence[Seen], rules: Sequence[tuple[Rule, list[float]]]
) -> list[dict[str, Any]]:
    """The share of photographs that are called generated, for each rule.

    Args:
        photographs: Test photographs as packed, usable ones.
        rules: As of `list_rules`.

    Returns:
        For each: "asked", "used", "generated" and "p_real" (as of `share_of_groups`; the second without the unsure
        band and the domain check), "chance" (as of `chance_range`); "side" and "p_side": where the two intervals lie,
        seen from the rate that was used, 1 above it; "chance_side": where the share by p_real lies, seen from the range
        of chance.
    """
    groups = np.array([each.group for each in photographs])
    found = []
    for rule, asked in rules:
        generated = np.array([each.decide(rule) == "generated" for each in photographs])
        values = np.array([each.p_real for each in photographs], dtype=float)
        share = share_of_groups(generated, groups)
        by_p = share_of_groups(values <= rule.rate, groups)
        chance = chance_range(rule.rate, rule.description.photographs.num_groups, share["n_groups"])
        found.append(
            {
                "asked": asked,
                "used": rule.rate,
                "generated": share,
                "p_real": by_p,
                "chance": chance,
                "side": side_of(share["interval"], rule.rate),
                "p_side": side_of(by_p["interval"], rule.rate),
                "chance_side": -side_of(chance, by_p["share"]),
            }
        )
    return found


def follow_p_values(photographs: Sequence[Seen], smallest: float) -> list[dict[str, Any]]:
    """The share of photographs whose p_real is at most a rate: "rate" with what `share_of_groups` gives."""
    groups = np.array([each.group for each in photographs])
    values = np.array([each.p_real for each in photographs], dtype=float)
    rates = sorted({smallest, *(rate for rate in CURVE_RATES if rate >= smallest)})
    return [{"rate": rate, **share_of_groups(values <= rate, groups)} for rate in rates]


def share_of_groups(hits: NDArray[np.bool_], groups: NDArray[np.str_]) -> dict[str, Any]:
    """The share of hits where every group counts the same, as in the promise on false alarms.

    The interval is the exact binomial one (Clopper and Pearson) over groups, a group counting for its share of hits:
    as if one image were drawn of each group. It is wider than needed where a group has several images.

    Args:
        hits: (images,).
        groups: (images,).

    Returns:
        "share", "interval", "num_hits", "num_images", "n_groups".
    """
    _, number = np.unique(groups, return_inverse=True)
    shares = np.bincount(number, hits) / np.bincount(number)
    total, n = float(shares.sum()), len(shares)
    tail = (1 - LEVEL) / 2
    low = float(beta.ppf(tail, total, n - total + 1)) if total > 0 else 0.0
    high = float(beta.ppf(1 - tail, total + 1, n - total)) if total < n else 1.0
    return {
        "share": total / n,
        "interval": [low, high],
        "num_hits": int(hits.sum()),
        "num_images": len(hits),
        "n_groups": n,
    }


def chance_range(rate: float, num_validation: int, num_test: int) -> list[float]:
    """Ends of the 95 % of shares that chance alone gives where test and validation groups are exchangeable.

    With one image a group and no ties, the share of test groups with a p-value of at most the rate has a beta-binomial
    distribution: the promise holds on average over validation sets, not for each of them.

    Args:
        rate: Nominal, at least 1 / (1 + num_validation).
        num_validation: Validation groups that the p-values count.
        num_test: Test groups.
    """
    ranks = int(np.floor(rate * (num_validation + 1) + 1e-9))
    spread = betabinom(num_test, ranks, num_validation + 1 - ranks)
    return [float(spread.ppf(end)) / num_test for end in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]


def measure_verdicts(seen: Sequence[Seen], rules: Sequence[tuple[Rule, list[float]]]) -> dict[str, dict[str, Any]]:
    """Image source → "label", "num_images" and for each rule the share of each verdict.

    Args:
        seen: Test images as packed, usable ones.
        rules: As of `list_rules`.

    Returns:
        By source "rates": for each rule "asked", "used", and for each name of `DOMAIN` the share of each of
        `VERDICTS`, with "interval" and "n_groups" those of "generated".
    """
    found = {}
    for source in sorted({each.image_source for each in seen}):
        images = [each for each in seen if each.image_source == source]
        rates = []
        for rule, asked in rules:
            shares = {name: _share_verdicts(images, rule, checks_domain=checks) for name, checks in DOMAIN.items()}
            rates.append({"asked": asked, "used": rule.rate, **shares})
        found[source] = {"label": images[0].label, "num_images": len(images), "rates": rates}
    return found


def _share_verdicts(images: Sequence[Seen], rule: Rule, *, checks_domain: bool) -> Mapping[str, Any]:
    verdicts = np.array([each.decide(rule, checks_domain=checks_domain) for each in images])
    groups = np.array([each.group for each in images])
    shares = {name: float((verdicts == name).mean()) for name in VERDICTS}
    generated = share_interval(verdicts == "generated", groups)
    return {**shares, "interval": generated.interval and list(generated.interval), "n_groups": generated.n_groups}
