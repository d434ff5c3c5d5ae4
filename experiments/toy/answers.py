"""What the toy benchmark's numbers answer: which targets they reach is decided here, by the numbers alone."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import Dataset
from demo.toy.sources import Making, load_makings
from experiments.toy.data import GUIDANCES, TASKS, guided_source
from experiments.toy.telling import (
    NOT_SMOOTHER,
    SMOOTHER,
    as_value,
    describe_aurocs,
    describe_pairs,
    finding,
)
from train.scoring.evaluate import evaluate
from train.scoring.intervals import share_interval
from train.scoring.metrics import mean_interval
from train.scoring.pairs import ROUNDTRIP_PREFIX, choose_roundtrip, match_pairs
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading, load_reading
from train.scoring.titles import TITLES
from workflow.stages import CONTROLS, Stages

TARGET_AUROC = 0.7
"""Of the map alone, decoder-matched, averaged over the sources."""
GUIDED = "toy-a-guidance"
"""What the sources of the first model's images at each guidance begin with."""
Numbers = dict[str, Any]


def answer(stages: Mapping[str, Stages], results: Mapping[str, Numbers]) -> Numbers:
    """All answers from what the two tasks' stages have written.

    Args:
        stages: Task → its stages, all done.
        results: Task → content of its results.json.

    Returns:
        "verdict" (paragraphs), "aims" (targets that need no trained control, whether each is met, what was found),
        "gains" (control → unseen source → what `describe_gains` gives), "pairs", "mean_lare", "guidance", and
        "by_setting" (task → reading → source with strength or guidance → as in results.json).
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
    answers: Numbers = {
        "pairs": compare_with_roundtrips(lare, energy, makings),
        "mean_lare": compute_means(lare),
        "guidance": compare_guidances(lare),
        "by_setting": by_setting,
    }
    unseen = results[TASKS[1]]["readings"]["full"]["sources"].keys() - dataset.counts["train"].keys()
    answers["aims"] = decide(answers["pairs"], results[TASKS[1]])
    answers["gains"] = list_gains(results[TASKS[1]], sorted(unseen), len(matched.seeds))
    return {"verdict": finding(numbers(answers, results)), **answers}


def numbers(answers: Mapping[str, Any], results: Mapping[str, Numbers]) -> Numbers:
    """What headline and finding tell.

    Args:
        answers: "aims", "gains" and "guidance".
        results: Task → content of its results.json.
    """
    plain, rows = results[TASKS[0]]["readings"], answers["guidance"]
    sources = [guided_source(GUIDED, row["guidance"]) for row in rows]
    return {
        "aims": answers["aims"],
        "gains": answers["gains"],
        "map_only_auroc": results[TASKS[1]]["readings"]["map_only"]["mean"]["auroc"],
        "guidance": {
            "guidances": [row["guidance"] for row in rows],
            "change": rows[-1]["change"],
            "change_interval": rows[-1]["change_interval"],
            "auroc": {
                reading: [plain[reading]["controls"][source]["auroc"] for source in sources]
                for reading in ("mean_lare", "gradient_energy")
            },
        },
    }


def compare_with_roundtrips(lare: Reading, energy: Reading, makings: Mapping[str, Making]) -> Numbers:
    """How often an image has a lower mean LaRE than the VAE reconstruction of the same photograph.

    Args:
        lare: Of minus the mean LaRE.
        energy: Of minus the gradient energy, of the same samples.
        makings: How each image was made, by key.

    Returns:
        Generated image source that is derived from photographs → "all", "strength …", and those that are, and are not,
        smoother than their VAE reconstruction → n, n_groups, lower_than_roundtrip (share), interval (by scene), and
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
                "interval": list(share_interval(lower[part], groups[images][part]).interval or (0.0, 1.0)),
                "n_groups": len(np.unique(groups[images][part])),
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
    """Mean LaRE at each guidance, and its change from the first guidance with the same prompts and noise."""
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


def decide(pairs: Numbers, matched: Numbers) -> list[Numbers]:
    """Which of the targets that need no trained control are met, and the finding behind each.

    Args:
        pairs: From `compare_with_roundtrips`.
        matched: results.json of the decoder-matched task.

    Returns:
        For each target "number", "short", "aim" (the target in full), "met", "finding" and "items" (its parts). A share
        meets its target where its whole interval lies on that side, for every source concerned.
    """
    map_only = matched["readings"]["map_only"]
    return [
        _target(
            "1",
            "img2img images have a lower mean LaRE than the VAE reconstruction of the same photograph",
            "more than half of the img2img images have a lower mean LaRE than the VAE reconstruction of the same "
            "photograph",
            bool(pairs) and all(parts["all"]["interval"][0] > 0.5 for parts in pairs.values()),
            describe_pairs(pairs),
        ),
        _target(
            "2",
            f"the map alone reaches an AUROC of {TARGET_AUROC:g}",
            f"decoder-matched, the map alone reaches an AUROC of {TARGET_AUROC:g} averaged over the sources",
            map_only["mean"]["auroc"] >= TARGET_AUROC,
            describe_aurocs(map_only),
        ),
    ]


def list_gains(matched: Numbers, unseen: Collection[str], num_seeds: int) -> Numbers:
    """What the map adds: control → image source → AUROC of image and map less that of the control, and both AUROCs.

    Args:
        matched: results.json of the decoder-matched task.
        unseen: Image sources that no detector was trained on.
        num_seeds: Of the detectors.
    """

    def auroc(reading: str, source: str) -> Numbers:
        block = matched["readings"][reading]["sources"][source]
        value = {"mean": block["auroc"], "interval": block["auroc_interval"], "sd": block["auroc_sd"]}
        return {**value, "num_seeds": num_seeds}

    return {
        control: {
            source: {
                "difference": {**as_value(matched["differences"][f"full − {control}"][source]), "num_seeds": num_seeds},
                "aurocs": [auroc("full", source), auroc(control, source)],
            }
            for source in unseen
        }
        for control in CONTROLS
    }


def _target(number: str, short: str, aim: str, met: bool, found: list[str]) -> Numbers:
    return {"number": number, "short": short, "aim": aim, "met": met, "finding": ". ".join(found), "items": found}
