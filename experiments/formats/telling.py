"""The question on file formats and sizes in words and tables."""

from collections.abc import Iterator, Mapping

from experiments.answers.answer import Table, capitalize, with_interval
from experiments.answers.groups import describe_groups, describe_spread
from experiments.answers.rule import ORDER, RULE, Comparison, Value, Verdict, judge
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import CHANCE_WORDS, describe_difference, describe_value, join_names

AS_THEY_COME = "mixed"
"""The packing of the files as they are. Its images have several sizes."""
WAYS = {AS_THEY_COME: "as they come", "common": "match common", "select": "match select"}
CELLS = (
    (AS_THEY_COME, AS_THEY_COME),
    (AS_THEY_COME, "common"),
    (AS_THEY_COME, "select"),
    ("common", "common"),
    ("select", "select"),
)
"""Packing that is trained on, and the one that is tested on."""
DETECTORS = ("image_only", "map_only", "full")
FILE = "file"
TITLES = {
    FILE: "facts of the file alone",
    "gradient_energy": "gradient energy",
    "mean_lare": "mean LaRE",
    "image_only": "image only",
    "map_only": "map only",
    "full": "image and map",
}
HIGHER = {Verdict.WORSE: "significantly lower", Verdict.BETTER: "significantly higher"}
"""Verdict on a difference of AUROCs → how it is said, where it is no other word."""
ALARMS = {
    Verdict.BETTER: "half size makes photographs look significantly more generated",
    Verdict.SAME: "half size makes no significant difference",
    Verdict.FEW_SEEDS: f"half size, {Verdict.FEW_SEEDS}",
    Verdict.NOT_KNOWN: f"half size, {Verdict.NOT_KNOWN}",
    Verdict.WORSE: "half size makes photographs look significantly more real",
}
Key = tuple[str, ...]
"""Of a comparison: "file", packing; "loss", packing, reading; "alarm", packing, reading."""
LIMITS = (
    "What is left after matching may still come from the file. Both ways compress generated images that were never "
    "compressed before. Photographs keep the traces of their first compression and their first size. The "
    "regression on facts of the files is a lower bound of what a file tells. Where select keeps few photographs, its "
    "detectors are trained on few. Half size is one way of resizing among many, with one filter."
)
MADE_HERE = (
    "The set was made for this question after GenImage's pattern. Its photographs are squares of the toy benchmark's "
    "at their own resolution, as JPEG: half of quality 96, half of 75 to 95. Its generated images are the toy "
    "benchmark's, as PNG."
)


def find_own(found: Numbers) -> dict[str, Mapping[str, Mapping[str, Value]]]:
    """Packing → reading → metric → value, trained and tested on that packing."""
    return {each["trained"]: each for each in found["cells"] if each["trained"] == each["tested"]}


def compare(found: Numbers) -> dict[Key, Comparison]:
    """All comparisons that the answer makes: facts of the file with chance, matched with raw, half size with whole."""
    compared: dict[Key, Comparison] = {
        ("file", way): Comparison(each[FILE]["auroc"], 0.5) for way, each in find_own(found).items()
    }
    for way, by_reading in found["losses"].items():
        for reading, value in by_reading.items():
            if reading != FILE:
                compared["loss", way, reading] = Comparison(value)
    for each in found["half_size"]:
        compared["alarm", each["trained"], each["reading"]] = Comparison(as_value(each), 0.5)
    return compared


def as_value(alarm: Numbers) -> Value:
    """The AUROC of photographs after half size in the form of an answer's values."""
    return {**alarm, "mean": alarm["auroc"]}


def headline(found: Numbers) -> str:
    """What the file alone reaches under each packing."""
    own = find_own(found)
    aurocs = [f"{own[way][FILE]['auroc']['mean']:.2f} ({title})" for way, title in WAYS.items() if way in own]
    return f"Facts of the file alone reach an AUROC of {join_names(aurocs)}."


def finding(found: Numbers) -> str:
    """What could not be done, what the file alone tells, what matching takes, and who raises false alarms."""
    lines = [f"- {capitalize(WAYS[way])} was not done: {reason}." for way, reason in found["missing"].items()]
    own, judged = find_own(found), judge(compare(found))
    lines.append("Facts of the file alone: where they are above chance, a score may come from the file alone.")
    for way, each in own.items():
        chance = CHANCE_WORDS[judged["file", way]]
        lines.append(f"- Facts of the file, {WAYS[way]}: {chance}, AUROC {_show(each[FILE]['auroc'])}.")
    for way, each in own.items():
        texts = [f"{TITLES[name]} {each[name]['auroc']['mean']:.2f}" for name in TITLES if name != FILE]
        lines.append(f"- AUROC, trained and tested {WAYS[way]}: {', '.join(texts)}.")
    lines.append("Trained on the files as they come and tested on matched files, against tested as they come:")
    lines += _tell_losses(found["losses"], judged)
    lines.append("False alarms: photographs after half size against the same photographs before.")
    return "\n".join([*lines, *_tell_alarms(found["half_size"], judged)])


def _tell_losses(losses: Numbers, judged: Mapping[Key, Verdict]) -> Iterator[str]:
    for way, each in losses.items():
        names = [name for name in TITLES if name in each and name != FILE]
        for name in sorted(names, key=lambda name: ORDER[judged["loss", way, name]]):
            verdict, difference = judged["loss", way, name], describe_difference(each[name])
            words = HIGHER.get(verdict, verdict.value)
            yield f"- {capitalize(TITLES[name])}, tested {WAYS[way]}: {words}, AUROC {difference}."


def _tell_alarms(alarms: list[Numbers], judged: Mapping[Key, Verdict]) -> Iterator[str]:
    for verdict, text in ALARMS.items():
        by_training: dict[str, list[str]] = {}
        for each in alarms:
            if judged["alarm", each["trained"], each["reading"]] is verdict:
                name = f"{TITLES[each['reading']]} ({each['auroc']:.2f})"
                by_training.setdefault(_name_training(each), []).append(name)
        for training, names in by_training.items():
            yield f"- {capitalize(text)}, {training} (AUROC): {join_names(names)}."


def _name_training(alarm: Numbers) -> str:
    return f"trained {WAYS[alarm['trained']]}" if alarm["reading"] in DETECTORS else "without a detector"


def _show(value: Value) -> str:
    return with_interval(value["mean"], value["interval"])


def tables(found: Numbers) -> Iterator[Table]:
    """AUROC and balanced accuracy of each cell, what matching takes, false alarms, and counts."""
    heads = ("trained", "tested", *TITLES.values())
    spread = f"Mean over the image sources; {_describe_cells(found['cells'])}"
    left_out = tuple((WAYS[way], WAYS[way], f"not done: {reason}") for way, reason in found["missing"].items())
    filled = tuple((*row, *[None] * (len(heads) - len(row))) for row in left_out)
    for metric, title in (("auroc", "AUROC"), ("balanced_accuracy", "Balanced accuracy")):
        rows = tuple(
            (WAYS[e["trained"]], WAYS[e["tested"]], *(describe_value(e[name][metric]) for name in TITLES))
            for e in found["cells"]
        )
        yield Table(
            f"{title} by how the set was packed",
            heads,
            (*rows, *filled),
            f"{spread} Thresholds come from the validation images of the packing that was trained on.",
        )
    yield Table(
        "AUROC after matching less AUROC as they come",
        ("tested", *TITLES.values()),
        tuple(
            (WAYS[way], *(describe_difference(each[name]) if name in each else None for name in TITLES))
            for way, each in found["losses"].items()
        ),
        "Trained on the files as they come; paired on the images that both packings have. "
        f"{describe_groups({WAYS[way]: each for way, each in found['losses'].items()})} {RULE}",
    )
    yield _tabulate_alarms(found["half_size"])
    counts = found["counts"]
    yield Table(
        "Images of each packing",
        ("packing", *(f"{split}: photographs / generated" for split in next(iter(counts.values())))),
        tuple((WAYS[way], *(f"{a:,} / {b:,}" for a, b in each.values())) for way, each in counts.items()),
        MADE_HERE if found["is_made_here"] else "",
    )


def _describe_cells(cells: list[Numbers]) -> str:
    tested = dict.fromkeys(each["tested"] for each in cells)
    return describe_spread({f"tested {WAYS[way]}": [e for e in cells if e["tested"] == way] for way in tested})


def _tabulate_alarms(alarms: list[Numbers]) -> Table:
    rows = tuple(
        (
            TITLES[each["reading"]],
            WAYS[each["trained"]],
            describe_value({"mean": each["auroc"], "interval": each["interval"], "sd": each["sd"]}),
            f"{each['called'][0]:.2f} → {each['called'][1]:.2f}",
            with_interval(each["called"][1] - each["called"][0], each["rise"]),
        )
        for each in alarms
    )
    return Table(
        "Photographs after half size against the same photographs before",
        ("reading", "trained", "AUROC", "called generated", "rise"),
        rows,
        "Real test images as they come, all as PNG. An AUROC of 0.5 is no difference; a rise is a rise of false "
        f"alarms. {describe_spread({'': alarms})} Readings without a detector have their threshold from the files as "
        "they come.",
    )


TELLING = Telling("How much of a score comes from the file's format and size?", LIMITS, headline, finding, tables)
