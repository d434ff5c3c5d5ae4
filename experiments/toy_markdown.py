"""The toy benchmark's answers and results as Markdown. Nothing is decided here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from demo.photos import ROLES
from demo.stages import PERMUTED
from demo.summary import TITLES, describe_auroc
from experiments.toy_answers import GUIDED, Numbers, describe_difference, describe_share
from experiments.toy_data import TASKS, guided_source

COMMAND = "make toy-benchmark PHOTOS=FOLDER"
NEGATIVES = {
    TASKS[0]: "photographs",
    TASKS[
        1
    ]: "the round trips of photographs through the autoencoder of the source's own model (for controls: model a's)",
}
"""What each task's sources and controls stand against."""


def as_markdown(answers: Mapping[str, Any], results: Mapping[str, Numbers]) -> str:
    """The verdict, what was done, the four answers with their tables, and all readings of both tasks.

    Args:
        answers: Content of answers.json.
        results: Task → content of its results.json.
    """
    settings = answers["settings"]
    command = f"`{COMMAND}{' GENERATOR_PHOTOS=FOLDER' if settings['generator_photos'] else ''}`"

    def source(place: str) -> str:
        return f"Command: {command}; figures from `{place}`."

    plain, matched = (results[task] for task in TASKS)
    parts = [
        "## The toy benchmark",
        answers["verdict"],
        _describe_run(settings, matched),
        "### 1. Mean LaRE against the round trip of the image's own photograph",
        "Share of img2img images whose mean LaRE is lower than that of their own photograph merely encoded and decoded "
        "by the same model's autoencoder; 95 % interval by photograph. The last column is the share that also has the "
        "lower gradient energy: where it is near 1, smoothness alone could explain the others.",
        _pairs_table(answers["pairs"]),
        source("answers.json, pairs"),
        "### 2. The map alone",
        *(_setting_table(task, answers["by_setting"][task]) for task in reversed(TASKS)),
        "Averaged over the sources the detector that sees the map alone has an AUROC of "
        f"{matched['readings']['map_only']['mean']['auroc']:.2f} decoder-matched and of "
        f"{plain['readings']['map_only']['mean']['auroc']:.2f} in the plain task.",
        source("answers.json, by_setting, and <task>/results.json"),
        "### 3. What the map adds to the image",
        "AUROC of the detector with image and map less that of the detector in the column's head, on the same images: "
        "95 % interval by photograph, standard deviation over seeds.",
        *(_differences(task, results[task]) for task in reversed(TASKS)),
        source("<task>/results.json, differences"),
        "### 4. Guidance",
        "Images of the same class prompts and noise at each guidance; the change is that of the mean LaRE of an image "
        "from the first guidance on, paired.",
        _guidance_table(answers["guidance"], plain, matched),
        source("answers.json, guidance, and <task>/results.json, controls"),
        *_all_readings(results),
        source("<task>/results.json"),
        "### Mean LaRE by source",
        _means_table(answers["mean_lare"]),
        source("answers.json, mean_lare"),
    ]
    return "\n\n".join(parts) + "\n"


def _describe_run(settings: Mapping[str, Any], matched: Numbers) -> str:
    record = matched["settings"]
    seeds = _list(range(settings["num_seeds"]))
    photographs = ", ".join(f"{settings['num_photographs'][role]:,} {role}" for role in ROLES)
    return (
        f"Photographs: {photographs}, {settings['tiles_per_photo']} tiles of each. Img2img strengths "
        f"{_list(settings['strengths'])} at guidance {settings['img2img_guidance']:g}, class samples at guidance "
        f"{_list(settings['sample_guidances'])}, {settings['num_steps']} DDIM steps. Maps of model a at "
        f"t = {record['fields']['timestep']}, e = {record['fields']['ensemble_size']}. Detectors are trained on model "
        f"a's images only, {settings['num_epochs']} epochs, seeds {seeds}; thresholds and "
        f"checkpoints come from validation. Commit {record['git_commit'] or 'unknown'}"
        f"{' with changes' if record['git_dirty'] else ''}. These are small models: nothing here says how well images "
        "of real generators are found."
    )


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _pairs_table(pairs: Numbers) -> str:
    return table(
        ["image source", "of these", "n", "lower mean LaRE", "smoother"],
        [
            [source, name, f"{row['n']:,}", describe_share(row), f"{row['smoother_than_roundtrip']:.2f}"]
            for source, parts in pairs.items()
            for name, row in parts.items()
        ],
    )


def _setting_table(task: str, blocks: Numbers) -> str:
    readings = ("map_only", "mean_lare", "gradient_energy")
    return table(
        [f"AUROC, {task}", *(TITLES[name] for name in readings)],
        [[source, *(_auroc(blocks[name][source]) for name in readings)] for source in blocks[readings[0]]],
    )


def _auroc(block: Mapping[str, Any]) -> str:
    """AUROC, its interval, and its standard deviation over seeds."""
    return describe_auroc(block) + ("" if block["auroc_sd"] is None else f" ±{block['auroc_sd']:.3f}")


def _differences(task: str, results: Numbers) -> str:
    names = {f"full − {other}": TITLES[other] for other in ("image_only", PERMUTED)}
    blocks = [results["differences"][name] for name in names]
    rows = [[source, *(describe_difference(block[source]) for block in blocks)] for source in blocks[0]]
    return table([task, *names.values()], rows)


def _guidance_table(rows: Sequence[Numbers], plain: Numbers, matched: Numbers) -> str:
    readings = ("mean_lare", "gradient_energy")
    tasks = ((TASKS[0], plain), (TASKS[1], matched))
    heads = [f"AUROC of {TITLES[reading]}, {task}" for task, _ in tasks for reading in readings]
    lines = []
    for row in rows:
        source, (low, high) = guided_source(GUIDED, row["guidance"]), row["change_interval"]
        change = f"{row['change']:+.4f} ({low:+.4f} to {high:+.4f})".replace("-", "−")
        aurocs = [describe_auroc(results["readings"][r]["controls"][source]) for _, results in tasks for r in readings]
        lines.append([f"{row['guidance']:g}", f"{row['n']:,}", f"{row['mean']:.4f}", change, *aurocs])
    return table(["guidance", "n", "mean LaRE", "change", *heads], lines)


def _all_readings(results: Mapping[str, Numbers]) -> Iterable[str]:
    """Both tasks' sources and controls under all readings: AUROC, and accuracy at the threshold from validation."""
    for task in TASKS:
        readings = {name: results[task]["readings"][name] for name in TITLES}
        yield f"### All readings, {task}"
        yield (
            f"AUROC against {NEGATIVES[task]}, 95 % interval by photograph and, where there are seeds, their standard "
            "deviation. Controls, in italics, are no generated images of the task, and in no mean."
        )
        yield _readings_table(readings, _auroc)
        yield "The same, accuracy at the threshold from validation:"
        yield _readings_table(readings, lambda block: f"{block['accuracy_at_val_threshold']:.2f}")


def _readings_table(readings: Mapping[str, Numbers], cell: Callable[[Numbers], str]) -> str:
    blocks, rows = list(readings.values()), []
    for kind, mark in (("sources", ""), ("controls", "*")):
        for name, block in blocks[0][kind].items():
            cells = [cell(b[kind][name]) for b in blocks]
            rows.append([f"{mark}{name}{mark}", f"{block['n_generated']:,}", f"{block['n_real']:,}", *cells])
    rows.append(["mean of the sources", "", "", *(cell(b["mean"]) for b in blocks)])
    return table(["", "n", "against", *(TITLES[name] for name in readings)], rows)


def _means_table(means: Numbers) -> str:
    return table(
        ["image source", "n", "mean LaRE"],
        [
            [source, f"{row['n']:,}", "{:.4f} ({:.4f} to {:.4f})".format(row["mean"], *row["interval"])]
            for source, row in means.items()
        ],
    )
