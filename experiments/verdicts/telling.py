"""False alarms, finds, moves of verdicts and noise in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.answers.answer import capitalize
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import join_names
from experiments.verdicts.family import correct
from experiments.verdicts.files import REFERENCE
from experiments.verdicts.moves import CALLED, CLASSES, FLIPS, LOST, MOVES
from experiments.verdicts.tables import (
    CHECKS,
    charts,
    list_controls,
    list_files,
    percent,
    rate_text,
    share_text,
    sum_up,
    tables,
)

LIMITS = (
    "Checkpoint, threshold and unsure band were chosen on the validation photographs that give the p-values. So the "
    "promise on false alarms is not exact. It holds on average over validation sets, for photographs that are "
    "exchangeable with the validation ones, and for no others. The test photographs of a set come from the sources of "
    "its validation photographs: an interval says nothing of photographs from elsewhere. The detectors are small, and "
    "so are the images. Nothing was tuned on test images. What is significant is so among all comparisons of this "
    "answer (Holm), and of these detectors: others of their recipe may differ."
)
EXCESS = {
    1: "significantly more than the rate",
    0: "no significant difference from the rate",
    -1: "significantly fewer than the rate",
}
"""Side of the interval of a share, seen from the rate → how it is said; what failed comes first."""
CHANCE = {
    1: "This is more than chance alone gives",
    0: "This is within what chance alone gives",
    -1: "This is less than chance alone gives",
}
"""Side of a share by p_real, seen from the range of chance → how it is said."""
TITLES = {"photographs": "Photographs", "generated": "Generated images"}
"""Name of `moves.CLASSES` → how a sentence begins."""
NOISE = {
    1: "significantly more than another noise seed",
    0: "not significantly more or less than another noise seed",
    -1: "significantly less than another noise seed",
}
"""Side of the excess over another seed → how it is said."""


def list_excesses(found: Numbers, side: str = "side") -> list[tuple[str, Mapping[str, Any]]]:
    """Set and false alarms of each rule whose rate is significantly exceeded.

    Args:
        found: Numbers of all sets.
        side: "side" of those called generated, "p_side" of p_real alone.
    """
    return [(name, each) for name, one in found["sets"].items() for each in one["false_alarms"] if each[side] == 1]


def count_flips(one: Numbers, check: str) -> tuple[int, int]:
    """Verdicts that flip in any other file at the smallest rate, and how many there are.

    Args:
        one: Numbers of a set.
        check: Name of `shares.DOMAIN`.
    """
    by_file = [sum_up(by[check]) for by in list_files(one["moves"][0]).values()]
    return sum(map(_flips_of, by_file)), sum(sum(each.values()) for each in by_file)


def find_loud_controls(one: Numbers, check: str) -> list[str]:
    """Controls that are called generated significantly more often than the smallest rate, in corrected numbers."""
    return [name for name, each in list_controls(one).items() if each["rates"][0][check]["side"] == 1]


def headline(found: Numbers) -> str:
    """Whether a rate is exceeded, and how many verdicts flip in other files."""
    found = correct(found)
    head = "No significant excess of false alarms"
    if excesses := list_excesses(found):
        texts = [f"{share_text(each['generated'])} at {percent(each['used'])} ({name})" for name, each in excesses]
        head = f"Too many false alarms: {join_names(texts, is_simple=True)}"
    if by_p := list_excesses(found, "p_side"):
        head += f", but p_real alone exceeds its rate ({join_names(sorted({name for name, _ in by_p}))})"
    checked, unchecked = ([count_flips(one, how) for one in found["sets"].values()] for how in ("checked", "unchecked"))
    return (
        f"{head}; {sum(n for n, _ in checked):,} of {sum(n for _, n in checked):,} verdicts flip in other files, "
        f"{sum(n for n, _ in unchecked):,} without the domain check."
    )


def finding(found: Numbers) -> str:
    """For each set false alarms, finds, controls, other files, noise."""
    return "\n".join(line for name, one in correct(found)["sets"].items() for line in _tell_set(name, one))


def _tell_set(name: str, one: Numbers) -> Iterator[str]:
    alarms = one["false_alarms"]
    first = alarms[0]
    share = first["generated"]
    yield (
        f"{name}: {share['num_images']:,} test photographs of {share['n_groups']:,} groups. The "
        f"{one['num_validation_groups']:,} validation groups support rates from {percent(one['smallest_rate'])} up."
    )
    for side in EXCESS:
        for each in alarms:
            if each["side"] == side:
                yield from _tell_alarms(each)
    yield from _tell_finds(one)
    yield from _tell_controls(one, first)
    yield from _tell_files(one, first)
    yield _tell_noise(one["noise"])


def _tell_alarms(each: Numbers) -> Iterator[str]:
    low, high = each["chance"]
    rate = rate_text(each)
    side = capitalize(EXCESS[each["side"]])
    yield f"- False alarms at {rate}: {share_text(each['generated'])} are called generated. {side}."
    yield (
        f"- By p_real alone, at {percent(each['used'])}: {share_text(each['p_real'])}, {EXCESS[each['p_side']]}. "
        f"{CHANCE[each['chance_side']]} ({percent(low)} to {percent(high)})."
    )


def _tell_finds(one: Numbers) -> Iterator[str]:
    for source, each in one["verdicts"].items():
        if each["label"] == 1:
            at = each["rates"][0]
            shares = at["checked"]
            generated = share_text({"share": shares["generated"], "interval": shares["interval"]})
            yield (
                f"- {source} at {percent(at['used'])}: {generated} are called generated, "
                f"{percent(shares['unsure'])} unsure, {percent(shares['real'])} real."
            )


def _tell_controls(one: Numbers, first: Numbers) -> Iterator[str]:
    controls, rate = list_controls(one), percent(first["used"])
    if not controls:
        return
    for check, how in CHECKS.items():
        names = find_loud_controls(one, check)
        shares = [percent(controls[name]["rates"][0][check]["generated"]) for name in names]
        texts = [f"{name} ({share})" for name, share in zip(names, shares, strict=True)]
        if names:
            yield f"- Controls called generated significantly more often than {rate}, {how}: {join_names(texts)}."
        else:
            yield f"- No control is called generated significantly more often than {rate}, {how}."


def _tell_files(one: Numbers, first: Numbers) -> Iterator[str]:
    for check, how in CHECKS.items():
        flips, total = count_flips(one, check)
        by_file = {file: by[check] for file, by in list_files(one["moves"][0]).items()}
        moves = {file: sum_up(by) for file, by in by_file.items()}
        unsure, lost = (sum(each[move] for each in moves.values()) for move in ("to unsure", LOST))
        most = max(moves, key=lambda file: _flips_of(moves[file]))
        named = f", {_flips_of(moves[most]):,} of them as {most}" if flips else ""
        yield (
            f"- Other files at {percent(first['used'])}, {how}: {flips:,} of {total:,} verdicts flip{named}; "
            f"{unsure:,} become unsure{f', {lost:,} are lost' if lost else ''}."
        )
        reference = one["moves"][0]["files"][REFERENCE][check]
        for kind in CLASSES:
            called = {file: by[kind][CALLED] for file, by in by_file.items()}
            worst = max(called, key=called.__getitem__)
            number = sum(reference[kind][move] for move in (*MOVES, LOST))
            others = f"at most {called[worst]:,} as another file ({worst})" if called[worst] else "none as another file"
            yield (
                f"- {TITLES[kind]} called generated, {how}: {reference[kind][CALLED]:,} of {number:,} as {REFERENCE}, "
                f"{others}."
            )


def _flips_of(moves: Mapping[str, int]) -> int:
    return sum(moves[flip] for flip in FLIPS)


def _tell_noise(noise: Numbers) -> str:
    interval = noise["excess"]["interval"]
    ends = "{:+.2f} to {:+.2f}".format(*(1000 * end for end in interval)) if interval else "no interval"
    ends = ends.replace("-", "−")
    means = [noise[name]["mean"] for name in ("by_hash", "reseeded")]
    text = capitalize(
        f"noise of the file's hash moves probabilities {NOISE[noise['excess']['side']]}. The mean changes are "
        f"{1000 * means[0]:.2f} and {1000 * means[1]:.2f} thousandths"
    )
    return f"- {text} (difference {ends}, {noise['num_images']:,} images)."


TELLING = Telling("How far can verdicts be trusted?", LIMITS, headline, finding, tables, charts)
