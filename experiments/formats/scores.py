"""Scores on files as they come and matched: in words and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.answers.answer import Cell, Table, with_interval
from experiments.formats.half_size import FalseAlarms
from experiments.study.comparisons import describe_difference, describe_value, format_value, judge, side_of
from experiments.study.over_sources import METRICS, Means, compute_means, match_samples
from train.scoring.scores import Reading

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
Readings = Mapping[str, Reading]
Scores = Mapping[tuple[str, str], Mapping[str, Mapping[str, Means]]]
"""Cell → reading → metric → mean over the image sources."""
Losses = Mapping[str, Mapping[str, Means]]
"""Packing that is tested on → reading → AUROC less that on the same files as they come; trained on these."""
Counts = Mapping[str, tuple[int, int]]
"""Split → number of photographs and of generated images."""
Alarms = Mapping[tuple[str, str], FalseAlarms]
"""(packing that gave weights or threshold, reading) → what half size does."""


def score_cells(cells: Mapping[tuple[str, str], Readings]) -> tuple[Scores, Losses]:
    """Scores of each cell, and what matching takes from readings that were trained on the files as they come."""
    scores = {cell: {name: compute_means(each) for name, each in found.items()} for cell, found in cells.items()}
    raw = cells[AS_THEY_COME, AS_THEY_COME]
    losses = {}
    for (trained, tested), found in cells.items():
        if trained == AS_THEY_COME != tested:
            losses[tested] = {name: _less(reading, raw[name]) for name, reading in found.items()}
    return scores, losses


def _less(matched: Reading, raw: Reading) -> Means:
    same = match_samples(raw, matched.table["key"].to_pylist())
    return compute_means(matched)["auroc"] - compute_means(same)["auroc"]


def sum_up(scores: Scores) -> str:
    """The finding in a line."""
    own = {title: scores[way, way] for way, title in WAYS.items() if (way, way) in scores}
    texts = [
        f"{each[FILE]['auroc'].mean:.2f} and {each['full']['auroc'].mean:.2f} {title}" for title, each in own.items()
    ]
    return f"AUROC of the file's facts alone, and of image and map: {'; '.join(texts)}."


def describe(scores: Scores, losses: Losses, alarms: Alarms, missing: Mapping[str, str]) -> str:
    """The finding: what could not be done, what the file alone tells, what matching takes, and who alarms falsely."""
    parts = [f"{WAYS[way].capitalize()} was not done: {reason}." for way, reason in missing.items()]
    own = {way: scores[way, way] for way in WAYS if (way, way) in scores}
    files = {way: each[FILE]["auroc"] for way, each in own.items()}
    tells = [way for way, value in files.items() if side_of(value.interval, 0.5) == 1]
    parts.append(
        f"Facts of the file alone reach an AUROC of {'; '.join(f'{_show(v)} {WAYS[w]}' for w, v in files.items())}: "
        f"they {_tell(tells, list(files))}."
    )
    for way, each in own.items():
        texts = [f"{TITLES[name]} {_show(each[name]['auroc'])}" for name in TITLES if name != FILE]
        parts.append(f"Trained and tested {WAYS[way]}: {', '.join(texts)}.")
    for way, each in losses.items():
        verdicts = {name: judge(each[name]) for name in TITLES if name != FILE}
        named = [
            f"{text} {', '.join(f'{TITLES[n]} ({each[n].mean:+.3f})' for n in found)}".replace("-", "−")
            for verdict, text in ((-1, "lower for"), (0, "not told apart for"), (1, "higher for"))
            if (found := [name for name, judged in verdicts.items() if judged == verdict])
        ]
        parts.append(f"Trained as they come and tested {WAYS[way]}, AUROC is {'; '.join(named)}.")
    parts.append(_describe_alarms(alarms))
    return "\n".join(parts)


def _describe_alarms(alarms: Alarms) -> str:
    found: dict[int, list[str]] = {1: [], 0: [], -1: []}
    for (way, name), each in alarms.items():
        trained = f" trained {WAYS[way]}" if name in DETECTORS else ""
        found[side_of(each.interval, 0.5)].append(f"{TITLES[name]}{trained} ({each.auroc:.2f})")
    words = {1: "taken for more generated", 0: "not told apart", -1: "taken for more real"}
    texts = [f"{words[side]} by {', '.join(names)}" for side, names in found.items() if names]
    return f"Photographs after half size, against the same before (AUROC), are {'; '.join(texts)}."


def _show(value: Means) -> str:
    return with_interval(value.mean, value.interval)


def _tell(tells: Sequence[str], asked: Sequence[str]) -> str:
    if not tells:
        return "do not tell the classes apart"
    silent = ", ".join(WAYS[way] for way in asked if way not in tells)
    rest = f", but not {silent}" if silent else ""
    where = ", ".join(WAYS[way] for way in tells)
    return f"tell the classes apart {where}{rest}. Where they do, as much of any score need not come from the picture"


def tabulate(scores: Scores, losses: Losses, alarms: Alarms, missing: Mapping[str, str]) -> list[Table]:
    """AUROC and balanced accuracy of each cell, what matching takes, and false alarms."""
    heads = ("trained", "tested", *TITLES.values())
    spread = "Mean over the image sources, 95 % interval by group, ± standard deviation over seeds."
    left_out = tuple((WAYS[way], WAYS[way], f"not done: {reason}") for way, reason in missing.items())
    filled = tuple((*row, *[None] * (len(heads) - len(row))) for row in left_out)
    tables = [
        Table(
            f"{title} by how the set was packed",
            heads,
            (*_rows(scores, metric), *filled),
            f"{spread} Thresholds come from the validation images of the packing that was trained on.",
        )
        for metric, title in (("auroc", "AUROC"), ("balanced_accuracy", "Balanced accuracy"))
    ]
    rows = tuple(
        (WAYS[way], *(describe_difference(each[name]) if name in each else None for name in TITLES))
        for way, each in losses.items()
    )
    note = "Trained on the files as they come; paired on the images that both have."
    tables.append(Table("AUROC after matching less that as they come", ("tested", *TITLES.values()), rows, note))
    return [*tables, _tabulate_alarms(alarms)]


def _rows(scores: Scores, metric: str) -> list[tuple[Cell, ...]]:
    return [
        (WAYS[trained], WAYS[tested], *(describe_value(each[name][metric]) for name in TITLES))
        for (trained, tested), each in scores.items()
    ]


def _tabulate_alarms(alarms: Alarms) -> Table:
    rows = [
        (
            TITLES[name],
            WAYS[way],
            format_value(each.auroc, each.interval, each.sd),
            f"{each.called[0]:.2f} → {each.called[1]:.2f}",
            with_interval(each.called[1] - each.called[0], each.rise),
        )
        for (way, name), each in alarms.items()
    ]
    return Table(
        "Photographs that went through half their size, against the same before",
        ("", "trained", "AUROC", "called generated", "rise"),
        tuple(rows),
        "Real test images as they come, all as PNG. At 0.5 there is no difference; a rise is one of false alarms. 95 % "
        "intervals by group, ± standard deviation over seeds. Readings without a detector have thresholds from there.",
    )


def tabulate_counts(counts: Mapping[str, Counts]) -> Table:
    """Images of each packing."""
    heads = tuple(f"{split}: photographs / generated" for split in next(iter(counts.values())))
    rows = tuple((WAYS[way], *(f"{a:,} / {b:,}" for a, b in each.values())) for way, each in counts.items())
    return Table("Images of each packing", ("", *heads), rows)


def summarize(scores: Scores, losses: Losses, alarms: Alarms, missing: Mapping[str, str]) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "cells": [
            {"trained": trained, "tested": tested}
            | {name: {metric: means[metric].describe() for metric in METRICS} for name, means in each.items()}
            for (trained, tested), each in scores.items()
        ],
        "losses": {way: {name: value.describe() for name, value in each.items()} for way, each in losses.items()},
        "half_size": [
            {"trained": way, "reading": name, "auroc": each.auroc, "interval": each.interval, "sd": each.sd}
            | {"called": each.called, "rise": each.rise}
            for (way, name), each in alarms.items()
        ],
        "missing": dict(missing),
    }
