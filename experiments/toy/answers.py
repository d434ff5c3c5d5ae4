"""What the toy benchmark's numbers answer: which targets they reach is decided here, by the numbers alone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cache_schema import Dataset
from demo.toy.sources import Making, load_makings
from experiments.answers.verdicts import side_of
from experiments.toy.data import GUIDANCES, TASKS, guided_source
from experiments.toy.telling import (
    NOT_SMOOTHER,
    SMOOTHER,
    as_auroc,
    as_value,
    describe_aurocs,
    describe_pairs,
    finding,
)
from train.scoring.evaluate import evaluate
from train.scoring.intervals import mean_interval, share_interval
from train.scoring.pairs import choose_roundtrip, list_roundtrips, match_pairs
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
        "verdict" (paragraphs), "aims" (what `decide` gives),
        "gains" (control → unseen source → what `list_gains` gives), "pairs", "without_roundtrip" (image sources that
        have no part in them), "mean_lare", "guidance", and
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
        "without_roundtrip": list_without_roundtrip(lare),
        "mean_lare": compute_means(lare),
        "guidance": compare_guidances(lare),
        "by_setting": by_setting,
    }
    unseen = results[TASKS[1]]["readings"]["full"]["sources"].keys() - dataset.counts["train"].keys()
    answers["aims"] = decide(answers["pairs"], answers["without_roundtrip"], results[TASKS[1]])
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
            "n_groups": rows[-1]["n_groups"],
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
    keys, groups = (table[name].to_numpy() for name in ("key", "group"))
    result: Numbers = {}
    for source, roundtrip in _choose_roundtrips(lare).items():
        if roundtrip is None:
            continue
        images, partners = match_pairs(table, source, roundtrip)
        lower, smoother = (r.scores[0][images] > r.scores[0][partners] for r in (lare, energy))
        strengths = np.array([makings[key].strength for key in keys[images]], dtype=float)
        parts = {"all": np.ones(len(images), bool)}
        parts |= {f"strength {s:g}": strengths == s for s in np.unique(strengths)}
        parts |= {SMOOTHER: smoother, NOT_SMOOTHER: ~smoother}
        result[source] = {
            name: _describe_part(lower[part], smoother[part], groups[images][part])
            for name, part in parts.items()
            if part.any()
        }
    return result


def list_without_roundtrip(lare: Reading) -> list[str]:
    """Generated image sources derived from photographs whose model has made no VAE reconstruction."""
    return [source for source, roundtrip in _choose_roundtrips(lare).items() if roundtrip is None]


def _choose_roundtrips(lare: Reading) -> dict[str, str | None]:
    """Generated image source that is derived from photographs → the VAE reconstruction by its own model."""
    is_derived = pc.and_(pc.equal(lare.table["label"], 1), lare.table["derived_from"].is_valid())
    sources = sorted(lare.table.filter(pc.fill_null(is_derived, False))["image_source"].unique().to_pylist())
    roundtrips = list_roundtrips(lare.table)
    return {source: choose_roundtrip(source, roundtrips, needs_own=True) for source in sources}


def _describe_part(lower: NDArray[np.bool_], smoother: NDArray[np.bool_], groups: NDArray[np.generic]) -> Numbers:
    share = share_interval(lower, groups)
    return {
        "n": len(lower),
        "lower_than_roundtrip": share.value,
        "interval": share.interval and list(share.interval),
        "n_groups": share.n_groups,
        "smoother_than_roundtrip": float(smoother.mean()),
    }


def compute_means(lare: Reading) -> Numbers:
    """Image source → mean LaRE of its test images, interval by group with n_groups, and n."""
    sources, groups = (lare.table[name].to_numpy() for name in ("image_source", "group"))
    result = {}
    for source in np.unique(sources):
        values, chosen = -lare.scores[0][sources == source], groups[sources == source]
        found = mean_interval(values, chosen)
        ends = found.interval and list(found.interval)
        result[source] = {"mean": found.value, "interval": ends, "n_groups": found.n_groups, "n": len(values)}
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
        change = mean_interval(values - first, groups[chosen])
        rows.append(
            {
                "guidance": guidance,
                "n": len(values),
                "mean": float(values.mean()),
                "change": change.value,
                "change_interval": change.interval and list(change.interval),
                "n_groups": change.n_groups,
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


def decide(pairs: Numbers, without_roundtrip: Sequence[str], matched: Numbers) -> list[Numbers]:
    """Which of the targets that need no trained control are met, and what was found.

    Args:
        pairs: From `compare_with_roundtrips`.
        without_roundtrip: Image sources that have no part in them.
        matched: results.json of the decoder-matched task.

    Returns:
        For each target "number", "aim", "met" and "items" (what was found). A share meets its target where its whole
        interval lies on that side, for every source concerned.
    """
    map_only = matched["readings"]["map_only"]
    return [
        _target(
            "1",
            "more than half of the img2img images have a lower mean LaRE than the VAE reconstruction of the same "
            "photograph",
            bool(pairs) and all(side_of(parts["all"]["interval"], 0.5) == 1 for parts in pairs.values()),
            describe_pairs(pairs, without_roundtrip),
        ),
        _target(
            "2",
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
        return {**as_auroc(block), "num_seeds": num_seeds}

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


def _target(number: str, aim: str, met: bool, items: list[str]) -> Numbers:
    return {"number": number, "aim": aim, "met": met, "items": items}
