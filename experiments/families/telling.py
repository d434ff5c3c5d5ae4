"""The question on families in words."""

from collections.abc import Iterator, Mapping

import numpy as np

from experiments.answers import verdicts as words
from experiments.answers.rule import Comparison, Value, Verdict, judge
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import CHANCE_WORDS, group_verdicts, join_names
from experiments.families.numbers import ALL
from experiments.families.settings import MATCHED, TASKS
from experiments.families.tables import charts, tables
from train.scoring.titles import TITLES

NAME = "families"
COMMAND = "lare question families --photos FOLDER"
LIMITS = (
    "All four models are small, and A is the best trained; images of C and D are crude. A and B are latent diffusion "
    "models of one kind, C is a flow-matching transformer on A's autoencoder, and D works in pixel space. So C's VAE "
    "reconstructions come from A's decoder. D has no decoder: decoder-matched, its images meet photographs. Half of a "
    "model's images are made from photographs, and half from class names. Photographs show flowers and clothing. A "
    "detector of the matrix is trained on the images of its probe's model, so that rows differ in more than the probe. "
    "Nothing here says how well images of real generators are found."
)
UNTRAINED = "No detector is trained yet."
Key = tuple[str, ...]
"""Of a comparison: "chance", task, probe, image source; "own", reading, task, image source, other probe; "stack", task,
image source; "sweep", task, σ."""


def compare(found: Numbers) -> dict[Key, Comparison]:
    """All comparisons that the answer makes, as far as its numbers are there."""
    compared: dict[Key, Comparison] = {}
    for task in TASKS:
        for reading, cells in found["matrix"][task].items():
            if reading == "mean_lare":
                compared |= {
                    ("chance", task, probe, source): Comparison(cells[probe][source], 0.5)
                    for probe in found["models"]
                    for source in found["models"]
                }
            for source, others in found["own_less_other"][task][reading].items():
                for probe, gap in others.items():
                    aurocs = (cells[source][source], cells[probe][source])
                    compared["own", reading, task, source, probe] = Comparison(gap, aurocs=aurocs)
        for row in found.get("sweep", ()):
            both = row["aurocs"][task]
            aurocs = (both["c"][ALL], both["a"][ALL])
            compared["sweep", task, f"{row['sigma']:g}"] = Comparison(row["c_less_a"][task][ALL], aurocs=aurocs)
        if "stack" in found:
            compared |= _compare_stack(task, found["stack"][task])
    return compared


def _compare_stack(task: str, stack: Numbers) -> Iterator[tuple[Key, Comparison]]:
    one, other = (stack["aurocs"][stack[name]] for name in ("together", "chosen"))
    for source, difference in stack["together_less_chosen"].items():
        yield ("stack", task, source), Comparison(difference, aurocs=(one[source], other[source]))


def headline(found: Numbers) -> str:
    """Of how many models mean LaRE finds the images by their own probe and by another one, decoder-matched."""
    judged, models = judge(compare(found)), found["models"]
    own, other = (
        [judged["chance", MATCHED, p, s] is Verdict.BETTER for p in models for s in models if (p == s) == is_own]
        for is_own in (True, False)
    )
    text = (
        "Decoder-matched, mean LaRE is significantly above chance on images of the probe's own model in "
        f"{sum(own)} of {len(own)} cases, on images of another in {sum(other)} of {len(other)}."
    )
    if "map_only" not in found["matrix"][MATCHED]:
        return text
    own_mean, other_mean = _means(found["matrix"][MATCHED]["map_only"], models)
    return (
        f"{text} A detector of the map alone has a mean AUROC of {own_mean:.2f} on images of the probe's own model, "
        f"and of {other_mean:.2f} on the others'."
    )


def _means(cells: Mapping[str, Mapping[str, Value]], models: list[str]) -> tuple[float, float]:
    """Mean AUROC of probes on images of their own model, and on those of the others."""
    values = np.array([[cells[probe][source]["mean"] for source in models] for probe in models])
    is_own = np.eye(len(models), dtype=bool)
    return float(values[is_own].mean()), float(values[~is_own].mean())


def finding(found: Numbers) -> str:
    """Mean LaRE against chance, the own probe against others, detectors, stacked probes, noise levels."""
    judged = judge(compare(found))
    lines = [headline(found)]
    for task in reversed(TASKS):
        lines += _tell_mean_lare(found, task, judged)
    trained = [line for task in reversed(TASKS) for line in _tell_detectors(found, task, judged)]
    lines += ["Detectors, each trained on images of its probe's model:", *trained] if trained else [UNTRAINED]
    if "stack" in found:
        lines.append("Maps of all probes stacked, trained on images of A alone:")
    for task in reversed(TASKS if "stack" in found else ()):
        stack = found["stack"][task]
        for source, difference in stack["together_less_chosen"].items():
            lines.append("- " + _tell_stack(task, stack, source, difference, judged["stack", task, source]))
    if found.get("sweep"):
        lines.append("Mean LaRE of probe C against that of probe A at equal noise, images of all models together:")
    for task in reversed(TASKS if found.get("sweep") else ()):
        verdicts = {f"σ = {row['sigma']:g}": judged["sweep", task, f"{row['sigma']:g}"] for row in found["sweep"]}
        lines += [f"- {task}, {verdict}: {join_names(names)}." for verdict, names in group_verdicts(verdicts).items()]
    return "\n".join(lines)


def _tell_mean_lare(found: Numbers, task: str, judged: Mapping[Key, Verdict]) -> Iterator[str]:
    models = found["models"]
    yield f"Mean LaRE, {task}:"
    verdicts = {f"{p.upper()} on {s.upper()}": judged["chance", task, p, s] for p in models for s in models}
    for verdict, names in group_verdicts(verdicts).items():
        yield f"- Probe on image source, {CHANCE_WORDS[verdict]}: {join_names(names)}."
    gaps = {
        f"{source.upper()} against {probe.upper()}": judged["own", "mean_lare", task, source, probe]
        for source in models
        for probe in models
        if probe != source
    }
    for verdict, names in group_verdicts(gaps).items():
        yield f"- A model's own probe against another on its images, {verdict}: {join_names(names)}."


def _tell_detectors(found: Numbers, task: str, judged: Mapping[Key, Verdict]) -> Iterator[str]:
    for reading, cells in found["matrix"][task].items():
        if reading == "mean_lare":
            continue
        own, other = _means(cells, found["models"])
        verdicts = {"/".join(key): verdict for key, verdict in judged.items() if key[:3] == ("own", reading, task)}
        counts = [f"{verdict} ({len(names)})" for verdict, names in group_verdicts(verdicts).items()]
        yield (
            f"- {TITLES[reading].capitalize()}, {task}: mean AUROC {own:.2f} on images of the probe's own model, "
            f"{other:.2f} on the others'. The own probe against another: {join_names(counts)}."
        )


def _tell_stack(task: str, stack: Numbers, source: str, difference: Value, verdict: Verdict) -> str:
    of = "all models" if source == ALL else f"model {source.upper()}"
    together, chosen = (stack[name].upper() for name in ("together", "chosen"))
    one, other = f"{task}, images of {of}: probes {together} stacked", f"probe {chosen}, validation's best single one"
    return words.compare(one, other, difference, verdict)


TELLING = Telling(
    "Families: what is left on images of another architecture, by one probe and by several?",
    LIMITS,
    headline,
    finding,
    tables,
    charts,
)
