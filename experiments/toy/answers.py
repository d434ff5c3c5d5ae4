"""What the toy benchmark's numbers answer: which aims they reach is decided here, by the numbers alone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import Dataset
from demo.toy.sources import Making, load_makings
from experiments.study.comparisons import format_difference, judge_parts
from experiments.toy.data import GUIDANCES, TASKS, guided_source
from train.scoring.evaluate import evaluate
from train.scoring.metrics import mean_interval
from train.scoring.pairs import ROUNDTRIP_PREFIX, choose_roundtrip, match_pairs
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading, load_reading
from train.scoring.titles import TITLES
from workflow.stages import PERMUTED, Stages

AIMED_AUROC = 0.7
"""Of the map alone, decoder-matched, averaged over the sources."""
GUIDED = "toy-a-guidance"
"""What the sources of the first model's images at each guidance begin with."""
SMOOTHER, NOT_SMOOTHER = "smoother than their round trip", "not smoother than their round trip"
"""Images that have a lower gradient energy than it, and the others."""
Numbers = dict[str, Any]


def answer(stages: Mapping[str, Stages], results: Mapping[str, Numbers]) -> Numbers:
    """All answers from what the two tasks' stages have written.

    Args:
        stages: Task → its stages, all done.
        results: Task → content of its results.json.

    Returns:
        "verdict" (paragraphs), "aims" (what was aimed at, whether it is met, what was found), "pairs", "mean_lare",
        "guidance", and "by_setting" (task → reading → source with strength or guidance → as in results.json).
    """
    matched = stages[TASKS[1]]
    dataset, makings = Dataset.open(matched.data), load_makings(matched.data)
    index = dataset.table([*COLUMNS])
    lare, energy = (load_reading(index, matched.files(name)) for name in ("mean_lare", "gradient_energy"))
    by_setting = {}
    for task, each in stages.items():
        labels = Dataset.open(each.data).table([*COLUMNS])
        readings = {name: load_reading(labels, each.files(name)) for name in TITLES}
        by_setting[task] = score_by_setting(readings, makings)
    numbers: Numbers = {
        "pairs": compare_with_roundtrips(lare, energy, makings),
        "mean_lare": compute_means(lare),
        "guidance": compare_guidances(lare),
        "by_setting": by_setting,
    }
    unseen = results[TASKS[1]]["readings"]["full"]["sources"].keys() - dataset.counts["train"].keys()
    aims = decide(numbers["pairs"], results[TASKS[1]], sorted(unseen))
    return {"verdict": describe(aims, numbers["guidance"], results), "aims": aims, **numbers}


def compare_with_roundtrips(lare: Reading, energy: Reading, makings: Mapping[str, Making]) -> Numbers:
    """How often an image has a lower mean LaRE than the round trip of its own photograph.

    Args:
        lare: Of minus the mean LaRE.
        energy: Of minus the gradient energy, of the same samples.
        makings: How each image was made, by key.

    Returns:
        Generated image source that is derived from photographs → "all", "strength …", and those that are, and are not,
        smoother than their round trip → n, lower_than_roundtrip (share), interval (by photograph), and
        smoother_than_roundtrip (share). A part without images is left out.
    """
    table = lare.table
    assert table["key"] == energy.table["key"]
    sources, keys, groups = (table[name].to_numpy() for name in ("image_source", "key", "group"))
    roundtrips = [source for source in np.unique(sources) if source.startswith(ROUNDTRIP_PREFIX)]
    result: Numbers = {}
    for source in np.unique(sources[pc.fill_null(table["label"], -1).to_numpy() == 1]):
        images, partners = match_pairs(table, source, choose_roundtrip(source, roundtrips))
        if not len(images):
            continue
        lower, smoother = (r.scores[0][images] > r.scores[0][partners] for r in (lare, energy))
        strengths = np.array([makings[key].strength for key in keys[images]], dtype=float)
        parts = {"all": np.ones(len(images), bool)}
        parts |= {f"strength {s:g}": strengths == s for s in np.unique(strengths)}
        parts |= {SMOOTHER: smoother, NOT_SMOOTHER: ~smoother}
        result[source] = {
            name: {
                "n": int(part.sum()),
                "lower_than_roundtrip": float(lower[part].mean()),
                "interval": list(mean_interval(lower[part], groups[images][part])),
                "smoother_than_roundtrip": float(smoother[part].mean()),
            }
            for name, part in parts.items()
            if part.any()
        }
    return result


def compute_means(lare: Reading) -> Numbers:
    """Image source → mean LaRE of its test images, interval by group, and n."""
    sources, groups = (lare.table[name].to_numpy() for name in ("image_source", "group"))
    result = {}
    for source in np.unique(sources):
        values, chosen = -lare.scores[0][sources == source], groups[sources == source]
        result[source] = {"mean": float(values.mean()), "interval": list(mean_interval(values, chosen))}
        result[source]["n"] = len(values)
    return result


def compare_guidances(lare: Reading) -> list[Numbers]:
    """Mean LaRE at each guidance, and how far it is from that of the same prompts and noise at the first guidance."""
    sources, groups = (lare.table[name].to_numpy() for name in ("image_source", "group"))
    rows: list[Numbers] = []
    for guidance in GUIDANCES:
        chosen = np.flatnonzero(sources == guided_source(GUIDED, guidance))
        chosen = chosen[np.argsort(groups[chosen])]  # the images of one noise share a group
        values = -lare.scores[0][chosen]
        if not rows:
            first = values
        rows.append(
            {
                "guidance": guidance,
                "n": len(values),
                "mean": float(values.mean()),
                "change": float((values - first).mean()),
                "change_interval": list(mean_interval(values - first, groups[chosen])),
            }
        )
    return rows


def score_by_setting(readings: Mapping[str, Reading], makings: Mapping[str, Making]) -> Numbers:
    """Reading → "<source>, strength 0.3" or "<source>, guidance 5" → as in results.json, without controls."""
    parts = {name: _name_by_setting(reading, makings) for name, reading in readings.items()}
    return {name: blocks["sources"] for name, blocks in evaluate(parts)["readings"].items()}


def _name_by_setting(reading: Reading, makings: Mapping[str, Making]) -> Reading:
    known = np.flatnonzero(reading.table["label"].is_valid())
    table = reading.table.take(known)
    names = []
    for row in table.select(["key", "label", "image_source"]).to_pylist():
        making, name = makings[row["key"]], row["image_source"]
        if row["label"] == 1:
            has_strength = making.strength is not None
            name += f", strength {making.strength:g}" if has_strength else f", guidance {making.guidance:g}"
        names.append(name)
    table = table.set_column(table.schema.get_field_index("image_source"), "image_source", pa.array(names))
    return replace(reading, table=table, scores=reading.scores[:, known])


def decide(pairs: Numbers, matched: Numbers, unseen: Collection[str]) -> list[Numbers]:
    """Which aims are met, and the finding behind each.

    Args:
        pairs: From `compare_with_roundtrips`.
        matched: results.json of the decoder-matched task.
        unseen: Image sources that no detector was trained on.

    Returns:
        For each aim "number", "short", "aim", "met" and "finding". A share meets its aim where its whole interval lies
        on the aimed side, a difference where it is told to be better by `RULE`, for every source concerned.
    """
    map_only = matched["readings"]["map_only"]
    shares = [f"{source}: {_describe_pairs(parts)}" for source, parts in pairs.items()]
    aurocs = [f"{source} {block['auroc']:.2f}" for source, block in map_only["sources"].items()]
    aims = [
        {
            "number": "1",
            "short": "lower LaRE than the own round trip",
            "aim": "more than half of the img2img images have a lower mean LaRE than the round trip of their own "
            "photograph",
            "met": bool(pairs) and all(parts["all"]["interval"][0] > 0.5 for parts in pairs.values()),
            "finding": "; ".join(shares),
        },
        {
            "number": "2",
            "short": f"the map alone at {AIMED_AUROC:g}",
            "aim": f"decoder-matched, the map alone reaches an AUROC of {AIMED_AUROC:g} averaged over the sources",
            "met": map_only["mean"]["auroc"] >= AIMED_AUROC,
            "finding": f"{map_only['mean']['auroc']:.2f} ({', '.join(aurocs)})",
        },
    ]
    for number, other, text in (
        ("3a", "image_only", "the image alone"),
        ("3b", PERMUTED, "the same detector given other images' maps"),
    ):
        blocks = {source: matched["differences"][f"full − {other}"][source] for source in unseen}
        aims.append(
            {
                "number": number,
                "short": f"image and map better than {text}",
                "aim": "decoder-matched, on the images of the model that no detector has seen, image and map are "
                f"better than {text}",
                "met": bool(blocks)
                and all(
                    judge_parts(block["auroc_difference"], block["interval"], block["sd"]) == 1
                    for block in blocks.values()
                ),
                "finding": "AUROC "
                + "; ".join(
                    f"{source} {_auroc(matched, 'full', source)} against {_auroc(matched, other, source)}, "
                    f"{describe_difference(block)}"
                    for source, block in blocks.items()
                ),
            }
        )
    return aims


def _auroc(results: Numbers, reading: str, source: str) -> str:
    return f"{results['readings'][reading]['sources'][source]['auroc']:.2f}"


def _describe_pairs(parts: Numbers) -> str:
    texts = [f"{describe_share(parts['all'])} of {parts['all']['n']:,} pairs"]
    texts += [f"{describe_share(part)} at {name}" for name, part in parts.items() if name.startswith("strength")]
    if NOT_SMOOTHER in parts:
        part = parts[NOT_SMOOTHER]
        texts.append(f"{describe_share(part)} of the {part['n']:,} that are {NOT_SMOOTHER}")
    return ", ".join(texts)


def describe_share(row: Mapping[str, Any]) -> str:
    """A share with its interval, "61 % (58 to 64)"."""
    low, high = row["interval"]
    return f"{row['lower_than_roundtrip']:.0%} ({100 * low:.0f} to {100 * high:.0f})".replace("%", " %")


def describe_difference(block: Mapping[str, Any]) -> str:
    """A difference of AUROCs with its interval: "+0.012 (−0.003 to +0.020; sd over seeds 0.004)"."""
    return format_difference(block["auroc_difference"], block["interval"], block["sd"])


def describe(aims: Sequence[Numbers], guidance: Sequence[Numbers], results: Mapping[str, Numbers]) -> str:
    """The verdict, a paragraph a line: what failed, then each aim, then guidance."""
    failed = [f"({aim['number']}) {aim['short']}" for aim in aims if not aim["met"]]
    text = (
        f"Of {len(aims)} aims {len(failed)} failed: {'; '.join(failed)}."
        if failed
        else f"All {len(aims)} aims are met."
    )
    found = [
        f"({aim['number']}) {'Met' if aim['met'] else 'Failed'}: {aim['aim']}. Found: {aim['finding']}." for aim in aims
    ]
    return "\n".join([text, *found, f"(4) {_describe_guidance(guidance, results[TASKS[0]])}"])


def _describe_guidance(guidance: Sequence[Numbers], plain: Numbers) -> str:
    last = guidance[-1]
    low, high = last["change_interval"]
    moves = "does not move" if low <= 0 <= high else "lowers" if high < 0 else "raises"
    values = " / ".join(f"{row['guidance']:g}" for row in guidance)
    aurocs = {
        reading: " / ".join(
            f"{plain['readings'][reading]['controls'][guided_source(GUIDED, row['guidance'])]['auroc']:.2f}"
            for row in guidance
        )
        for reading in ("mean_lare", "gradient_energy")
    }
    return (
        f"Guidance {moves} the mean LaRE: at guidance {values} the AUROC against photographs is {aurocs['mean_lare']} "
        f"of mean LaRE and {aurocs['gradient_energy']} of gradient energy."
    )
