"""The toy benchmark's answers and results as one answer, with its tables. Nothing is decided here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from experiments.answers.answer import Answer, Table, with_interval
from experiments.answers.groups import describe_groups
from experiments.answers.rule import RULE
from experiments.answers.verdicts import describe_difference, describe_value
from experiments.toy.answers import GUIDED, Numbers, numbers
from experiments.toy.data import TASKS, guided_source
from experiments.toy.telling import COMMAND, NAME, NO_DECODER, TELLING, as_auroc, as_value, describe_share
from train.scoring.titles import TITLES
from workflow.stages import CONTROLS

NEGATIVES = (
    "photographs",
    "VAE reconstructions of photographs by the source's own model; of a model without a decoder, photographs. Controls "
    "stand against VAE reconstructions by model a",
)
"""What each task's sources and controls stand against."""
UNTRAINED = ("gradient_energy", "mean_lare")
"""Readings without a detector; all others are detectors."""
DETECTOR = "detector, "
"""What the titles of detectors begin with."""


def as_answer(answers: Mapping[str, Any], results: Mapping[str, Numbers]) -> Answer:
    """The verdict, the four answers with their tables, and all readings of both tasks.

    Args:
        answers: Content of answers.json.
        results: Task → content of its results.json.
    """
    settings, record = answers["settings"], results[TASKS[1]]["settings"]
    maps = {name: record["fields"][name] for name in ("timestep", "ensemble_size")}
    code = {name: record[name] for name in ("git_commit", "git_dirty")}
    command = f"{COMMAND}{' GENERATOR_PHOTOS=FOLDER' if settings['generator_photos'] else ''}"
    tables = tuple(_tables(answers, results))
    return TELLING.tell(NAME, numbers(answers, results), command, {**settings, **maps, **code}, tables=tables)


def _tables(answers: Mapping[str, Any], results: Mapping[str, Numbers]) -> Iterator[Table]:
    yield _pairs_table(answers["pairs"], answers["without_roundtrip"])
    for task in reversed(TASKS):
        yield _setting_table(task, answers["by_setting"][task], results[task])
    for task in reversed(TASKS):
        yield _differences(task, results[task], answers["settings"]["num_seeds"])
    yield _guidance_table(answers["guidance"], results)
    for task, negatives in zip(TASKS, NEGATIVES, strict=True):
        yield from _all_readings(task, negatives, results[task])
    yield _means_table(answers["mean_lare"])


def _pairs_table(pairs: Numbers, without_roundtrip: Sequence[str]) -> Table:
    names = ", ".join(without_roundtrip)
    left_out = f" Not compared, as the model has {NO_DECODER}: {names}." if names else ""
    return Table(
        "1. Mean LaRE against the VAE reconstruction of the same photograph",
        ("image source", "part", "n", "groups", "lower mean LaRE", "smoother"),
        tuple(
            (source, name, row["n"], row["n_groups"], describe_share(row), f"{row['smoother_than_roundtrip']:.2f}")
            for source, parts in pairs.items()
            for name, row in parts.items()
        ),
        "Share of img2img images with a lower mean LaRE than the VAE reconstruction of their photograph by the same "
        "model. 95 % interval by photograph. The last column is the share that also has the lower gradient "
        f"energy: near 1, smoothness alone could explain a lower mean LaRE. Figures: answers.json, pairs.{left_out}",
    )


def _setting_table(task: str, blocks: Numbers, results: Numbers) -> Table:
    readings = ("map_only", *reversed(UNTRAINED))
    return Table(
        f"2. The map alone, {task}: AUROC",
        ("image source", "groups", *(TITLES[name] for name in readings)),
        tuple(
            (source, block["n_groups"], *(_auroc(blocks[name][source]) for name in readings))
            for source, block in blocks[readings[0]].items()
        ),
        "Mean over the sources of the detector that sees the map alone: AUROC "
        f"{results['readings']['map_only']['mean']['auroc']:.2f}. Thresholds and checkpoints come from validation. "
        f"Figures: answers.json, by_setting, and {task}/results.json.",
    )


def _auroc(block: Mapping[str, Any]) -> str:
    """AUROC, its interval, and its standard deviation over seeds."""
    return describe_value(as_auroc(block))


def _differences(task: str, results: Numbers, num_seeds: int) -> Table:
    names = {f"full − {other}": TITLES[other] for other in (*CONTROLS, "image_only")}
    blocks = [results["differences"][name] for name in names]
    rows = (
        (source, *(describe_difference({**as_value(block[source]), "num_seeds": num_seeds}) for block in blocks))
        for source in blocks[0]
    )
    return Table(
        f"3. What the map adds to the image, {task}: difference of AUROCs",
        ("image source", *names.values()),
        tuple(rows),
        "AUROC of the detector with image and map less AUROC of the column's detector, on the same images. The first "
        "two are trained alike, with maps that say nothing of the image. The detector of the image alone has no "
        f"refinement, so that it differs in more than the map. {describe_groups(blocks[0])} {RULE} Figures: "
        f"{task}/results.json, differences.",
    )


def _guidance_table(rows: Sequence[Numbers], results: Mapping[str, Numbers]) -> Table:
    readings = ("mean_lare", "gradient_energy")
    heads = [f"AUROC of {TITLES[reading]}, {task}" for task in TASKS for reading in readings]
    lines = []
    for row in rows:
        source = guided_source(GUIDED, row["guidance"])
        aurocs = [results[task]["readings"][reading]["controls"][source] for task in TASKS for reading in readings]
        ends = "{:+.4f} to {:+.4f}".format(*row["change_interval"]) if row["change_interval"] else "no interval"
        change = f"{row['change']:+.4f} ({ends})".replace("-", "−")
        cells = (with_interval(block["auroc"], block["auroc_interval"]) for block in aurocs)
        lines.append((f"{row['guidance']:g}", row["n"], row["n_groups"], f"{row['mean']:.4f}", change, *cells))
    return Table(
        "4. Guidance",
        ("guidance", "n", "groups", "mean LaRE", "change", *heads),
        tuple(lines),
        "Images of the same class prompts and noise at each guidance. The change is the difference of an image's mean "
        "LaRE to the first guidance, paired. Images of one noise are a group. Figures: answers.json, guidance, and "
        "<task>/results.json, controls.",
    )


def _all_readings(task: str, negatives: str, results: Numbers) -> Iterator[Table]:
    """A task's sources and controls under all readings: AUROC, and how they are called."""
    readings = {TITLES[name]: results["readings"][name] for name in TITLES}
    of_detectors = {name.removeprefix(DETECTOR): each for name, each in readings.items() if name.startswith(DETECTOR)}
    others = {TITLES[name]: readings[TITLES[name]] for name in UNTRAINED}
    for title, shown in (("Readings that train nothing", others), ("Detectors", of_detectors)):
        yield _readings_table(
            f"{title}, {task}: AUROC",
            shown,
            _auroc,
            f"Against {negatives}. 95 % interval by photograph, ± standard deviation over seeds. Controls, in "
            f"brackets, are not generated images of the task, and are in no mean. Figures: {task}/results.json.",
        )
    yield _readings_table(
        f"All readings, {task}: balanced accuracy, and the share of controls that is called generated",
        readings,
        _describe_calls,
        f"At the threshold from validation. Against {negatives}. Of controls, in brackets, the share called generated. "
        f"Figures: {task}/results.json.",
    )


def _describe_calls(block: Numbers) -> str:
    """Balanced accuracy; of a control, which has none, the share called generated."""
    balanced = block["balanced_accuracy_at_val_threshold"]
    return f"({block['share_called_generated']:.2f})" if balanced is None else f"{balanced:.2f}"


def _readings_table(title: str, readings: Mapping[str, Numbers], cell: Callable[[Numbers], str], note: str) -> Table:
    blocks = list(readings.values())
    rows: list[tuple[Any, ...]] = []
    for kind, form in (("sources", "{}"), ("controls", "({})")):
        for name, block in blocks[0][kind].items():
            cells = (cell(each[kind][name]) for each in blocks)
            rows.append((form.format(name), block["n_generated"], block["n_real"], block["n_groups"], *cells))
    rows.append(("mean of the sources", None, None, None, *(cell(each["mean"]) for each in blocks)))
    return Table(title, ("image source", "n", "against", "groups", *readings), tuple(rows), note)


def _means_table(means: Numbers) -> Table:
    return Table(
        "Mean LaRE by source",
        ("image source", "n", "groups", "mean LaRE"),
        tuple(
            (s, row["n"], row["n_groups"], with_interval(row["mean"], row["interval"], digits=4))
            for s, row in means.items()
        ),
        "95 % interval by photograph. Figures: answers.json, mean_lare.",
    )
