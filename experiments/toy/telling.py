"""The toy benchmark in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import Value, describe_difference, join_names, side_of

NAME = "toy-benchmark"
COMMAND = "make toy-benchmark PHOTOS=FOLDER"
SMOOTHER, NOT_SMOOTHER = "smoother than their VAE reconstruction", "not smoother than their VAE reconstruction"
"""Images that have a lower gradient energy than it, and the others."""
LIMITS = (
    "The models are small, and detectors are trained on images of model a only: nothing here says how well images of "
    "real generators are found."
)


def headline(found: Numbers) -> str:
    """How many targets are met, and what the map alone reaches."""
    num_met, num_all = sum(aim["met"] for aim in found["aims"]), len(found["aims"])
    head = "No" if not num_met else "Yes" if num_met == num_all else "Partly"
    return (
        f"{head}: {num_met} of {num_all} targets are met; with the decoder's trace in both classes, the map alone "
        f"reaches an AUROC of {found['map_only_auroc']:.2f}."
    )


def finding(found: Numbers) -> str:
    """What failed, then each target, then guidance."""
    aims = found["aims"]
    missed = [f"({aim['number']})" for aim in aims if not aim["met"]]
    lines = [f"{len(aims) - len(missed)} of {len(aims)} targets are met."]
    if missed:
        lines = [f"{len(missed)} of {len(aims)} targets are missed: {join_names(missed)}."]
    for aim in aims:
        lines.append(f"({aim['number']}) {'Met' if aim['met'] else 'Missed'}. Target: {aim['aim']}.")
        lines += [f"- {item}." for item in aim["items"]]
    return "\n".join([*lines, *_tell_guidance(found["guidance"])])


def judge_guidance(guidance: Numbers) -> int:
    """−1 guidance lowers the mean LaRE, 1 raises it, 0 no significant change, from the first to the last guidance."""
    return side_of(guidance["change_interval"], 0)


def _tell_guidance(guidance: Numbers) -> Iterator[str]:
    moves = {-1: "significantly lowers", 0: "does not significantly change", 1: "significantly raises"}
    yield f"(4) Guidance {moves[judge_guidance(guidance)]} the mean LaRE."
    titles = {"mean_lare": "Mean LaRE", "gradient_energy": "Gradient energy"}
    for reading, values in guidance["auroc"].items():
        pairs = zip(guidance["guidances"], values, strict=True)
        aurocs = ", ".join(f"{auroc:.2f} at guidance {g:g}" for g, auroc in pairs)
        yield f"- {titles[reading]}, AUROC against photographs: {aurocs}."


def describe_pairs(pairs: Numbers) -> list[str]:
    """An item for each image source and part: the share that has a lower mean LaRE than the VAE reconstruction."""
    items = []
    for source, parts in pairs.items():
        for name, part in parts.items():
            if name != SMOOTHER:
                items.append(f"{source}, {name}: lower mean LaRE in {describe_share(part)} of {part['n']:,} pairs")
    return items


def describe_aurocs(map_only: Numbers) -> list[str]:
    """An item for the mean AUROC of the map alone, and one for each image source."""
    by_source = [f"AUROC of the map alone, {s}: {block['auroc']:.2f}" for s, block in map_only["sources"].items()]
    return [f"AUROC of the map alone, mean over the sources: {map_only['mean']['auroc']:.2f}", *by_source]


def describe_gains(blocks: Numbers, matched: Numbers, other: str) -> list[str]:
    """An item for each image source: AUROC of image and map, of the other detector, and the difference."""

    def auroc(reading: str, source: str) -> str:
        return f"{matched['readings'][reading]['sources'][source]['auroc']:.2f}"

    return [
        f"{s}: AUROC {auroc('full', s)} against {auroc(other, s)}, difference {describe_difference(as_value(block))}"
        for s, block in blocks.items()
    ]


def describe_share(row: Mapping[str, Any]) -> str:
    """A share with its interval, "61 % (58 to 64)"."""
    low, high = row["interval"]
    return f"{row['lower_than_roundtrip']:.0%} ({100 * low:.0f} to {100 * high:.0f})".replace("%", " %")


def as_value(block: Mapping[str, Any]) -> Value:
    """A difference of results.json in the form of an answer's values."""
    return {"mean": block["auroc_difference"], "interval": block["interval"], "sd": block["sd"]}


TELLING = Telling(
    "Toy benchmark: does LaRE separate generated images from photographs, beyond smoothness and the decoder's trace?",
    LIMITS,
    headline,
    finding,
)
