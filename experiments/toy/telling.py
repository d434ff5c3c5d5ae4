"""The toy benchmark in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.answers.answer import Chart, Curve
from experiments.answers.rule import Comparison, Value, Verdict, judge
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import describe_difference, join_names

NAME = "toy-benchmark"
COMMAND = "make toy-benchmark PHOTOS=FOLDER"
SMOOTHER, NOT_SMOOTHER = "smoother than their VAE reconstruction", "not smoother than their VAE reconstruction"
"""Images that have a lower gradient energy than it, and the others."""
CONTROL_TEXTS = {
    "permuted_maps": "trained on permuted maps",
    "constant_map": "trained on one constant map",
}
"""Control → what its detector differs in."""
NO_DECODER = "no decoder, and so no VAE reconstruction of its own"
LIMITS = (
    "The models are small, and detectors are trained on images of model a only: nothing here says how well images of "
    "real generators are found."
)


UNTRAINED = {"mean_lare": "Mean LaRE", "gradient_energy": "Gradient energy"}
"""Readings that train nothing → how a sentence begins."""
Key = tuple[str, ...]
"""Of a comparison: "gain", control, image source; "guidance"."""
STATES = {False: "Missed", None: "Open", True: "Met"}
"""Whether a target is met; None where nobody can tell yet."""


def compare(found: Numbers) -> dict[Key, Comparison]:
    """All comparisons that the answer makes: image and map with the controls, the last guidance with the first."""
    compared: dict[Key, Comparison] = {
        ("gain", control, source): Comparison(each["difference"], aurocs=tuple(each["aurocs"]))
        for control, by_source in found.get("gains", {}).items()
        for source, each in by_source.items()
    }
    interval = found["guidance"]["change_interval"]
    mean = found["guidance"]["change"] if "change" in found["guidance"] else sum(interval) / 2
    known = {"interval": interval, "n_groups": found["guidance"].get("n_groups")}
    compared["guidance",] = Comparison({"mean": mean, "sd": None, "num_seeds": 0, **known})
    return compared


def list_targets(found: Numbers) -> list[Numbers]:
    """All targets: those that are decided already, and what the map adds, by the verdicts on the controls.

    What earlier versions compared with was no control: a detector of another architecture, and the detector itself with
    other maps in the test. The targets are open then.
    """
    targets = [aim for aim in found["aims"] if not aim["number"].startswith("3")]
    judged, gains = judge(compare(found)), found.get("gains", {})
    for letter, (control, text) in zip("ab", CONTROL_TEXTS.items(), strict=True):
        verdicts = [judged["gain", control, source] for source in gains.get(control, {})]
        is_met = bool(verdicts) and all(verdict is Verdict.BETTER for verdict in verdicts)
        is_open = not verdicts or Verdict.FEW_SEEDS in verdicts
        targets.append(
            {
                "number": f"3{letter}",
                "aim": "decoder-matched, on images of unseen models, image and map are "
                f"significantly better than the same detector {text}",
                "met": None if is_open and not is_met else is_met,
                "items": [
                    describe_gain(source, each, judged["gain", control, source])
                    for source, each in gains.get(control, {}).items()
                ]
                or ["no such detector was trained"],
            }
        )
    return targets


def headline(found: Numbers) -> str:
    """How many targets are met, and what the map alone reaches."""
    states = [target["met"] for target in list_targets(found)]
    head = "No" if True not in states else "Yes" if set(states) == {True} else "Partly"
    is_open = f", {states.count(None)} {'is' if states.count(None) == 1 else 'are'} open" if None in states else ""
    return (
        f"{head}: {states.count(True)} of {len(states)} targets are met{is_open}; with the decoder's trace in both "
        f"classes, the map alone reaches an AUROC of {found['map_only_auroc']:.2f}."
    )


def finding(found: Numbers) -> str:
    """What failed, then each target, then guidance."""
    targets, lines = list_targets(found), []
    for state, name in STATES.items():
        numbers = [f"({target['number']})" for target in targets if target["met"] is state]
        if numbers:
            is_one = len(numbers) == 1
            verb = f"{'is' if is_one else 'are'} {name.lower()}"
            lines.append(f"{len(numbers)} of {len(targets)} targets {verb}: {join_names(numbers)}.")
    for target in targets:
        lines.append(f"({target['number']}) {STATES[target['met']]}. Target: {target['aim']}.")
        lines += [f"- {item}." for item in target["items"]]
    return "\n".join([*lines, *_tell_guidance(found)])


def judge_guidance(found: Numbers) -> int:
    """−1 guidance lowers the mean LaRE, 1 raises it, 0 no significant change, from the first to the last guidance."""
    return judge(compare(found))["guidance",].side


def _tell_guidance(found: Numbers) -> Iterator[str]:
    guidance = found["guidance"]
    moves = {-1: "significantly lowers", 0: "does not significantly change", 1: "significantly raises"}
    yield f"(4) Guidance {moves[judge_guidance(found)]} the mean LaRE."
    for reading, values in guidance["auroc"].items():
        pairs = zip(guidance["guidances"], values, strict=True)
        aurocs = ", ".join(f"{auroc:.2f} at guidance {g:g}" for g, auroc in pairs)
        yield f"- {UNTRAINED[reading]}, AUROC against photographs: {aurocs}."


def describe_pairs(pairs: Numbers, without_roundtrip: Sequence[str]) -> list[str]:
    """An item for each image source and part: the share that has a lower mean LaRE than the VAE reconstruction.

    Args:
        pairs: Image source → part → share.
        without_roundtrip: Image sources that are not compared.
    """
    items = [f"{source}: not compared, as its model has {NO_DECODER}" for source in without_roundtrip]
    for source, parts in pairs.items():
        for name, part in parts.items():
            if name != SMOOTHER:
                items.append(f"{source}, {name}: lower mean LaRE in {describe_share(part)} of {part['n']:,} pairs")
    return items


def describe_aurocs(map_only: Numbers) -> list[str]:
    """An item for the mean AUROC of the map alone, and one for each image source."""
    by_source = [f"AUROC of the map alone, {s}: {block['auroc']:.2f}" for s, block in map_only["sources"].items()]
    return [f"AUROC of the map alone, mean over the sources: {map_only['mean']['auroc']:.2f}", *by_source]


def describe_gain(source: str, gain: Numbers, verdict: Verdict) -> str:
    """An image source: AUROC of image and map, of the control, verdict and difference."""
    own, other = (value["mean"] for value in gain["aurocs"])
    return f"{source}: {verdict}, AUROC {own:.2f} against {other:.2f}, {describe_difference(gain['difference'])}"


def describe_share(row: Mapping[str, Any]) -> str:
    """A share with its interval, "61 % (58 to 64)"."""
    ends = "{:.0f} to {:.0f}".format(*(100 * end for end in row["interval"])) if row["interval"] else "no interval"
    return f"{row['lower_than_roundtrip']:.0%} ({ends})".replace("%", " %")


def charts(found: Numbers) -> Iterator[Chart]:
    """AUROC against photographs over the guidance."""
    guidance = found["guidance"]
    curves = (Curve(UNTRAINED[r], tuple(guidance["guidances"]), tuple(v)) for r, v in guidance["auroc"].items())
    yield Chart("Guidance: AUROC against photographs", "guidance", "AUROC", tuple(curves), reference=0.5)


def as_value(block: Mapping[str, Any]) -> Value:
    """A difference of results.json in the form of an answer's values."""
    return {"mean": block["auroc_difference"], **{name: block[name] for name in ("interval", "n_groups", "sd")}}


def as_auroc(block: Mapping[str, Any]) -> Value:
    """AUROC of a source or control of results.json in the form of an answer's values."""
    ends = {"interval": block["auroc_interval"], "n_groups": block["n_groups"], "sd": block["auroc_sd"]}
    return {"mean": block["auroc"], **ends}


TELLING = Telling(
    "Toy benchmark: does LaRE separate generated images from photographs, beyond smoothness and the decoder's trace?",
    LIMITS,
    headline,
    finding,
    charts=charts,
)
