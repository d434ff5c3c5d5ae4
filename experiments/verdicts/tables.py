"""The tables and charts of the answer on verdicts, a block of them a set."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from experiments.answers.answer import Cell, Chart, Curve, Table
from experiments.answers.groups import describe_groups
from experiments.answers.telling import Numbers
from experiments.verdicts.family import correct
from experiments.verdicts.files import REFERENCE
from experiments.verdicts.moves import CALLED, CURVE_QUANTILES, FLIPS, LOST, MOVES, NOISES, QUANTILES
from experiments.verdicts.seen import PACKED
from experiments.verdicts.shares import DOMAIN, VERDICTS

SIDES = {1: "significantly more", 0: "no significant difference", -1: "significantly fewer"}
CHECKS = {"checked": "with the domain check", "unchecked": "without the domain check"}
"""Name of `DOMAIN` → how a title says it."""
NOISE_TITLES = {"by_hash": "noise of the file's hash", "reseeded": "another noise seed"}
SHARES_NOTE = "Verdicts with the domain check, and without it. 95 % interval of the share called generated, by group. "


def percent(share: float) -> str:
    """A share as text: "14.3 %"."""
    return f"{_hundredths(share)} %"


def share_text(value: Mapping[str, Any]) -> str:
    """A share with its 95 % interval: "1.3 % (0.4 to 2.9)"."""
    ends = "{} to {}".format(*map(_hundredths, value["interval"])) if value["interval"] else "no interval"
    return f"{_hundredths(value['share'])} % ({ends})"


def _hundredths(share: float) -> str:
    """With a digit after the point, but for whole numbers; 0.0 is a little more than 0."""
    return f"{100 * share:.0f}" if math.isclose(100 * share, round(100 * share)) else f"{100 * share:.1f}"


def rate_text(rule: Mapping[str, Any]) -> str:
    """The rate of a rule, with those that were asked for where they are others: "14.3 % (1 % asked)"."""
    asked = [rate for rate in rule["asked"] if rate != rule["used"]]
    if not asked:
        return percent(rule["used"])
    return f"{percent(rule['used'])} ({', '.join(percent(rate) for rate in asked)} asked)"


def list_controls(one: Numbers) -> dict[str, Any]:
    """The controls among a set's image sources."""
    return {name: each for name, each in one["verdicts"].items() if each["label"] is None}


def list_files(rule: Numbers) -> dict[str, Any]:
    """Files of a rule that differ from the reference in more than noise."""
    return {file: by for file, by in rule["files"].items() if file not in (PACKED, REFERENCE)}


def sum_up(by_class: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Moves of all classes together."""
    return {move: sum(each[move] for each in by_class.values()) for move in (*MOVES, LOST)}


def tables(found: Numbers) -> Iterator[Table]:
    """For each set false alarms, finds, controls, moves with and without the domain check, and noise."""
    for name, one in correct(found)["sets"].items():
        yield _tabulate_alarms(name, one)
        labelled = {source: each for source, each in one["verdicts"].items() if each["label"] is not None}
        yield _tabulate_verdicts(f"{name}: verdicts on photographs and generated images", labelled, SHARES_NOTE.strip())
        if controls := list_controls(one):
            note = f"Nothing is promised for controls: they are not photographs as those of validation. {SHARES_NOTE}"
            yield _tabulate_verdicts(f"{name}: verdicts on controls", controls, note.strip())
        for check in DOMAIN:
            yield _tabulate_moves(name, one["moves"][0], check)
        yield _tabulate_flips(name, one["moves"])
        yield _tabulate_noise(name, one["noise"])


def _tabulate_alarms(name: str, one: Numbers) -> Table:
    rows = tuple(
        (
            ", ".join(percent(rate) for rate in each["asked"]),
            percent(each["used"]),
            each["generated"]["num_hits"],
            share_text(each["generated"]),
            SIDES[each["side"]],
            share_text(each["p_real"]),
            SIDES[each["p_side"]],
            "{} to {}".format(*map(percent, each["chance"])),
        )
        for each in one["false_alarms"]
    )
    share = one["false_alarms"][0]["generated"]
    unusable = f" {one['num_unusable']:,} test images could not be used." if one["num_unusable"] else ""
    return Table(
        f"{name}: false alarms on test photographs",
        (
            *("rate asked for", "rate used", "photographs called generated", "their share", "against the rate"),
            *("share with p_real at most the rate", "its place against the rate", "range of chance"),
        ),
        rows,
        f"{share['num_images']:,} test photographs of {share['n_groups']:,} groups; "
        f"{one['num_validation_photographs']:,} validation photographs of {one['num_validation_groups']:,} groups. "
        "Every group counts the same. 95 % interval: exact binomial over groups, each counting for its share; it has "
        "the chance of the test alone. The range holds 95 % of the shares by p_real of exchangeable photographs, over "
        f"validation and test sets of as many groups, one photograph each.{unusable}",
    )


def _tabulate_verdicts(title: str, sources: Mapping[str, Any], note: str) -> Table:
    rows = []
    for source, each in sources.items():
        for at in each["rates"]:
            cells: list[Cell] = [source, each["num_images"], percent(at["used"])]
            for check in DOMAIN:
                shares = at[check]
                cells.append(share_text({"share": shares["generated"], "interval": shares["interval"]}))
                cells += [percent(shares[verdict]) for verdict in VERDICTS[1:]]
            rows.append(tuple(cells))
    heads = [verdict if check == "checked" else f"unchecked: {verdict}" for check in DOMAIN for verdict in VERDICTS]
    return Table(title, ("image source", "n", "rate", *heads), tuple(rows), f"{note} {describe_groups(sources)}")


def _tabulate_moves(name: str, rule: Numbers, check: str) -> Table:
    columns = (*MOVES, LOST, CALLED)
    rows = [
        (file, *(f"{by[check]['photographs'][move]:,} / {by[check]['generated'][move]:,}" for move in columns))
        for file, by in rule["files"].items()
    ]
    return Table(
        f"{name}: verdicts on other files against the PNG's, at {rate_text(rule)}, {CHECKS[check]}",
        ("file", *columns),
        tuple(rows),
        "Test photographs / generated images. The first row is the packed file with the noise of its sample key. All "
        "other files have the noise of their hash, as the PNG has. A flip is a failure.",
    )


def _tabulate_flips(name: str, rules: list[Numbers]) -> Table:
    rows = []
    for rule in rules:
        cells: list[Cell] = [rate_text(rule)]
        for check in DOMAIN:
            for kind in ("photographs", "generated"):
                counts = [by[check][kind] for by in list_files(rule).values()]
                flips = " / ".join(str(sum(each[flip] for each in counts)) for flip in FLIPS)
                cells.append(f"{flips} of {sum(each[move] for each in counts for move in (*MOVES, LOST)):,}")
        rows.append(tuple(cells))
    heads = [f"{kind}, {CHECKS[check]}" for check in DOMAIN for kind in ("photographs", "generated")]
    return Table(
        f"{name}: flips in all other files together",
        ("rate", *heads),
        tuple(rows),
        "Flipped to generated / flipped to real, of so many verdicts.",
    )


def _tabulate_noise(name: str, noise: Numbers) -> Table:
    heads = ("mean", *("median" if q == 0.5 else "largest" if q == 1 else f"{100 * q:g} %" for q in QUANTILES))
    rows = tuple(
        (NOISE_TITLES[each], *(f"{v:.2g}" for v in (noise[each]["mean"], *noise[each]["quantiles"]))) for each in NOISES
    )
    return Table(
        f"{name}: change of the probability with other noise",
        ("noise", *heads),
        rows,
        f"Absolute change against the noise of the sample key; quantiles over {noise['num_images']:,} test images.",
    )


def charts(found: Numbers) -> Iterator[Chart]:
    """Realised against nominal rates of all sets, and what noise does in each."""
    curves = []
    for name, one in found["sets"].items():
        points = one["p_values"]
        rates, shares = [p["rate"] for p in points], [p["share"] for p in points]
        curves.append(Curve.with_intervals(name, rates, shares, [tuple(p["interval"]) for p in points]))
    ends = (0.0, max(curve.x[-1] for curve in curves))
    yield Chart(
        "Test photographs by p_real: realised against nominal rate",
        "nominal rate",
        "share of test photographs with p_real at most the rate",
        (*curves, Curve("as promised", ends, ends)),
    )
    for name, one in found["sets"].items():
        yield Chart(
            f"{name}: change of the probability with other noise",
            "share of the images",
            "largest absolute change among them",
            tuple(Curve(NOISE_TITLES[each], CURVE_QUANTILES, tuple(one["noise"][each]["curve"])) for each in NOISES),
        )
