"""The question on local detail in words, tables and charts."""

from collections.abc import Iterator

from experiments.answers.answer import Chart, Curve, Table, capitalize, with_interval
from experiments.answers.groups import describe_groups
from experiments.answers.readings import MEAN
from experiments.answers.rule import RULE, Comparison, Verdict, judge
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import describe_difference, describe_value, join_names

BLUR_SIGMA_PX = 0.75
"""Of the blur that high frequencies are the difference from: it halves an amplitude at half the Nyquist frequency."""
MEASURES = {
    "gradient": "local gradient energy: squared differences of neighbouring pixels' luma",
    "high_frequency": f"local high-frequency energy: squared difference of luma from its Gaussian blur of σ = "
    f"{BLUR_SIGMA_PX:g} px (halves an amplitude at half the Nyquist frequency)",
}
"""What `local_energies` measures."""
SIDES = {
    -1: "inverted (generated images have the higher mean LaRE)",
    0: "consistent with chance",
    1: "significantly lower for generated images",
}
"""Side of an AUROC → what the mean LaRE is; what fails comes first."""
LIMITS = (
    "A rank correlation within an image says that the error is larger where there is more detail, not why. Matching "
    "makes the classes equal in the mean gradient energy of whole images only. They may still differ in where the "
    "detail lies, in colour and in content. Images without a partner are left out. The line is fitted to real "
    "validation images and may not hold for others. No detector was trained."
)


Key = tuple[str, ...]
"""Of a comparison: "matched", image source; "residual"; "gain"; "correlation", measure, image source."""


def compare(found: Numbers) -> dict[Key, Comparison]:
    """All comparisons that the answer makes. Nothing is trained: the images alone decide."""
    test, gain = found["readings"]["test"], found["gain_of_residual"][MEAN]
    aurocs = test["residual"][MEAN]["auroc"], test["mean_lare"][MEAN]["auroc"]
    compared: dict[Key, Comparison] = {
        ("matched", s): Comparison(e["auroc"]["mean_lare"], 0.5) for s, e in found["matched"].items() if e["n"]
    }
    compared["residual",] = Comparison(aurocs[0], 0.5)
    compared["gain",] = Comparison(gain, aurocs=aurocs)
    for name, by_source in found["correlations"].items():
        for source, each in by_source.items():
            compared["correlation", name, source] = Comparison({**each, "sd": None, "num_seeds": 0})
    return compared


def find_sides(found: Numbers) -> dict[int, list[str]]:
    """Side of the AUROC of mean LaRE among matched images, −1 to 1 → image sources that have pairs."""
    sides = {key[1]: verdict.side for key, verdict in judge(compare(found)).items() if key[0] == "matched"}
    return {side: names for side in SIDES if (names := [source for source, each in sides.items() if each == side])}


def headline(found: Numbers) -> str:
    """What the mean LaRE is among images of equal gradient energy."""
    sides = find_sides(found)
    texts = "; ".join(f"{SIDES[side]} for {join_names(names)}" for side, names in sides.items())
    return f"At equal gradient energy, mean LaRE is {texts or 'not known'}."


def finding(found: Numbers) -> str:
    """What mean LaRE does not tell at equal detail, what it tells, and how it follows detail."""
    matched, lare = found["matched"], found["readings"]["test"]["mean_lare"]
    lines = ["Real and generated images matched one to one on gradient energy, AUROC of mean LaRE:"]
    for side, sources in find_sides(found).items():
        for source in sources:
            auroc, before = matched[source]["auroc"]["mean_lare"], lare[source]["auroc"]["mean"]
            lines.append(
                f"- Matched images of {source}: {SIDES[side]}, AUROC {describe_value(auroc)}; unmatched {before:.2f}."
            )
    lines += [
        f"- No real images of equal gradient energy were found for {s}." for s, e in matched.items() if not e["n"]
    ]
    lines += _tell_residual(found)
    return "\n".join([*lines, *(_tell_correlations(found, name) for name in found["correlations"])])


def _tell_residual(found: Numbers) -> Iterator[str]:
    auroc, gain = found["readings"]["test"]["residual"][MEAN]["auroc"], found["gain_of_residual"][MEAN]
    judged = judge(compare(found))
    sides = {
        0: "consistent with chance",
        1: "generated images have the lower error for their detail",
        -1: "inverted (generated images have the higher error for their detail)",
    }
    yield (
        f"Log gradient energy explains {100 * found['line']['explained']:.0f} % of the variance of log mean LaRE of "
        "real validation images."
    )
    yield (
        f"- The residual of log mean LaRE is {sides[judged['residual',].side]}. Its mean AUROC over the image "
        f"sources is {describe_value(auroc)}."
    )
    yield f"- The residual against mean LaRE: {judged['gain',]}, AUROC {describe_difference(gain)}."


def find_uncorrelated(found: Numbers, name: str) -> list[str]:
    """Image sources whose mean rank correlation is not significantly positive."""
    judged = judge(compare(found))
    return [s for s in found["correlations"][name] if judged["correlation", name, s] is not Verdict.BETTER]


def _tell_correlations(found: Numbers, name: str) -> str:
    measure, by_source = MEASURES[name].partition(":")[0], found["correlations"][name]
    if not by_source:
        return f"- No image has a rank correlation of its map with {measure}."
    order = sorted(by_source, key=lambda source: by_source[source]["mean"])
    ends = [f"{with_interval(by_source[s]['mean'], by_source[s]['interval'])} ({s})" for s in (order[0], order[-1])]
    missing = find_uncorrelated(found, name)
    doubt = f" It is not significantly positive for {join_names(missing)}." if missing else ""
    return f"- Rank correlation of the map with {measure} within an image: {ends[0]} to {ends[1]}.{doubt}"


def tables(found: Numbers) -> Iterator[Table]:
    """Rank correlations by image source, AUROCs before and after matching, and the residual as a reading."""
    yield _tabulate_correlations(found["correlations"])
    yield _tabulate_matched(found)
    test = found["readings"]["test"]
    yield Table(
        "What log mean LaRE has beyond log gradient energy",
        ("image source", "AUROC, gradient energy", "AUROC, mean LaRE", "AUROC, residual", "residual less mean LaRE"),
        tuple(
            (
                source,
                *(describe_value(test[name][source]["auroc"]) for name in ("gradient_energy", "mean_lare", "residual")),
                describe_difference(difference),
            )
            for source, difference in found["gain_of_residual"].items()
        ),
        "Test images. The line is fitted to the real validation images. "
        f"{describe_groups(found['gain_of_residual'])} {RULE}",
    )


def _tabulate_correlations(correlations: Numbers) -> Table:
    sources = list(dict.fromkeys(source for by_source in correlations.values() for source in by_source))
    rows = []
    for source in sources:
        found = [by_source.get(source) for by_source in correlations.values()]
        cells = [None if each is None else with_interval(each["mean"], each["interval"]) for each in found]
        rows.append((source, max(each["n"] for each in found if each), *cells))
    heads = (MEASURES[name].partition(":")[0] for name in correlations)
    return Table(
        "Rank correlation of the map with local detail, within one image",
        ("image source", "n", *heads),
        tuple(rows),
        "Spearman over the cells, map averaged over its channels, mean over test images; 95 % interval by group. "
        f"{'. '.join(map(capitalize, MEASURES.values()))}. Each is the mean over a cell. "
        + describe_groups({s: [by.get(s) for by in correlations.values()] for s in sources}),
    )


def _tabulate_matched(found: Numbers) -> Table:
    names, test = {"mean_lare": "mean LaRE", "gradient_energy": "gradient energy"}, found["readings"]["test"]
    rows = []
    for source, each in found["matched"].items():
        before = [describe_value(test[name][source]["auroc"]) for name in names]
        after = [describe_value(each["auroc"][name]) if each["auroc"] else None for name in names]
        share = None if each["lower"] is None else with_interval(each["lower"], each["interval"])
        by_class = "yes" if each["by_class"] else "no"
        rows.append((source, each["num_generated"], each["n"], by_class, *before, *after, share))
    return Table(
        "Real and generated images matched on gradient energy",
        (
            *("image source", "n", "matched", "within a class"),
            *(f"AUROC, {name}" for name in names.values()),
            *(f"matched: AUROC, {name}" for name in names.values()),
            "matched: share of pairs with the lower mean LaRE",
        ),
        tuple(rows),
        "Each generated image is matched with the remaining real image of nearest gradient energy, at most "
        f"{100 * (found['caliper'] - 1):.0f} % apart. AUROC is the share over all pairs of a generated and a real "
        "image. The AUROC of gradient energy among matched images tells how equal they are: 0.5 is equal. 95 % "
        "interval by group; the pairs' share goes by the group of the generated image. "
        + describe_groups({**test["mean_lare"], **{f"matched {s}": e for s, e in found["matched"].items()}}),
    )


def charts(found: Numbers) -> Iterator[Chart]:
    """Mean LaRE over gradient energy: some images of each real and generated source."""
    curves = tuple(Curve(name, tuple(each["energy"]), tuple(each["lare"])) for name, each in found["points"].items())
    slope = found["line"]["slope"]
    title = f"Mean LaRE over gradient energy (log-log slope of the real validation images {slope:.2f})"
    yield Chart(title, "log₁₀ gradient energy", "log₁₀ mean LaRE", curves, lines=False)


TELLING = Telling(
    "Does LaRE follow local detail, and does it separate generated from real images of equal detail?",
    LIMITS,
    headline,
    finding,
    tables,
    charts,
)
