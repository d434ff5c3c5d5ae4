"""The toy benchmark's answers and results as one answer, with its tables. Nothing is decided here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from demo.report.summary import describe_auroc
from experiments.answers.answer import Answer, Table, with_interval
from experiments.study.comparisons import RULE
from experiments.toy.answers import GUIDED, Numbers, describe_difference, describe_share
from experiments.toy.data import TASKS, guided_source
from train.scoring.titles import TITLES
from workflow.stages import PERMUTED

NAME = "toy-benchmark"
QUESTION = "The toy benchmark: does LaRE tell generated from real, beyond smoothness and beyond the decoder’s trace?"
LIMITS = (
    "The models are small, and detectors are trained on images of model a only: nothing here says how well images of "
    "real generators are found."
)
COMMAND = "make toy-benchmark PHOTOS=FOLDER"
NEGATIVES = (
    "photographs",
    "the round trips of photographs through the autoencoder of the source's own model (for controls: model a's)",
)
"""What each task's sources and controls stand against."""
HEADS = {"Failed": False, "Met": True}


def as_answer(answers: Mapping[str, Any], results: Mapping[str, Numbers]) -> Answer:
    """The verdict, the four answers with their tables, and all readings of both tasks.

    Args:
        answers: Content of answers.json.
        results: Task → content of its results.json.
    """
    settings, record = answers["settings"], results[TASKS[1]]["settings"]
    maps = {name: record["fields"][name] for name in ("timestep", "ensemble_size")}
    code = {name: record[name] for name in ("git_commit", "git_dirty")}
    return Answer(
        name=NAME,
        question=QUESTION,
        headline=sum_up(answers["aims"]),
        finding=answers["verdict"],
        limits=LIMITS,
        command=f"{COMMAND}{' GENERATOR_PHOTOS=FOLDER' if settings['generator_photos'] else ''}",
        settings={**settings, **maps, **code},
        tables=tuple(_tables(answers, results)),
        numbers={"aims": answers["aims"]},
    )


def sum_up(aims: Sequence[Numbers]) -> str:
    """The verdict in a line: which aims failed, and which are met."""
    found = {head: [aim["short"] for aim in aims if aim["met"] == met] for head, met in HEADS.items()}
    return "; ".join(f"{head}: {', '.join(names)}" for head, names in found.items() if names) + "."


def _tables(answers: Mapping[str, Any], results: Mapping[str, Numbers]) -> Iterator[Table]:
    yield _pairs_table(answers["pairs"])
    for task in reversed(TASKS):
        yield _setting_table(task, answers["by_setting"][task], results[task])
    for task in reversed(TASKS):
        yield _differences(task, results[task])
    yield _guidance_table(answers["guidance"], results)
    for task, negatives in zip(TASKS, NEGATIVES, strict=True):
        yield from _all_readings(task, negatives, results[task])
    yield _means_table(answers["mean_lare"])


def _pairs_table(pairs: Numbers) -> Table:
    return Table(
        "1. Mean LaRE against the round trip of the image's own photograph",
        ("image source", "of these", "n", "lower mean LaRE", "smoother"),
        tuple(
            (source, name, row["n"], describe_share(row), f"{row['smoother_than_roundtrip']:.2f}")
            for source, parts in pairs.items()
            for name, row in parts.items()
        ),
        "Share of img2img images whose mean LaRE is lower than that of their own photograph merely encoded and decoded "
        "by the same model's autoencoder; 95 % interval by photograph. The last column is the share that also has the "
        "lower gradient energy: where it is near 1, smoothness alone could explain the others. Figures: answers.json, "
        "pairs.",
    )


def _setting_table(task: str, blocks: Numbers, results: Numbers) -> Table:
    readings = ("map_only", "mean_lare", "gradient_energy")
    return Table(
        f"2. The map alone, {task}: AUROC",
        ("image source", *(TITLES[name] for name in readings)),
        tuple((source, *(_auroc(blocks[name][source]) for name in readings)) for source in blocks[readings[0]]),
        "Averaged over the sources the detector that sees the map alone has an AUROC of "
        f"{results['readings']['map_only']['mean']['auroc']:.2f}. Thresholds and checkpoints come from validation. "
        f"Figures: answers.json, by_setting, and {task}/results.json.",
    )


def _auroc(block: Mapping[str, Any]) -> str:
    """AUROC, its interval, and its standard deviation over seeds."""
    return describe_auroc(block) + ("" if block["auroc_sd"] is None else f" ±{block['auroc_sd']:.3f}")


def _differences(task: str, results: Numbers) -> Table:
    names = {f"full − {other}": TITLES[other] for other in ("image_only", PERMUTED)}
    blocks = [results["differences"][name] for name in names]
    return Table(
        f"3. What the map adds to the image, {task}: difference of AUROCs",
        ("image source", *names.values()),
        tuple((source, *(describe_difference(block[source]) for block in blocks)) for source in blocks[0]),
        "AUROC of the detector with image and map less that of the detector in the column's head, on the same images: "
        f"95 % interval by photograph, standard deviation over seeds. {RULE} Figures: {task}/results.json, "
        "differences.",
    )


def _guidance_table(rows: Sequence[Numbers], results: Mapping[str, Numbers]) -> Table:
    readings = ("mean_lare", "gradient_energy")
    heads = [f"AUROC of {TITLES[reading]}, {task}" for task in TASKS for reading in readings]
    lines = []
    for row in rows:
        source = guided_source(GUIDED, row["guidance"])
        aurocs = [results[task]["readings"][reading]["controls"][source] for task in TASKS for reading in readings]
        change = "{:+.4f} ({:+.4f} to {:+.4f})".format(row["change"], *row["change_interval"]).replace("-", "−")
        guidance, mean = f"{row['guidance']:g}", f"{row['mean']:.4f}"
        lines.append((guidance, row["n"], mean, change, *(describe_auroc(block) for block in aurocs)))
    return Table(
        "4. Guidance",
        ("guidance", "n", "mean LaRE", "change", *heads),
        tuple(lines),
        "Images of the same class prompts and noise at each guidance; the change is that of the mean LaRE of an image "
        "from the first guidance on, paired. Figures: answers.json, guidance, and <task>/results.json, controls.",
    )


def _all_readings(task: str, negatives: str, results: Numbers) -> Iterator[Table]:
    """A task's sources and controls under all readings: AUROC, and accuracy at the threshold from validation."""
    readings = {name: results["readings"][name] for name in TITLES}
    yield _readings_table(
        f"All readings, {task}: AUROC",
        readings,
        _auroc,
        f"Against {negatives}; 95 % interval by photograph and, where there are seeds, their standard deviation. "
        f"Controls, in brackets, are no generated images of the task, and in no mean. Figures: {task}/results.json.",
    )
    yield _readings_table(
        f"All readings, {task}: accuracy at the threshold from validation",
        readings,
        lambda block: f"{block['accuracy_at_val_threshold']:.2f}",
        f"Figures: {task}/results.json.",
    )


def _readings_table(title: str, readings: Mapping[str, Numbers], cell: Callable[[Numbers], str], note: str) -> Table:
    blocks = list(readings.values())
    rows: list[tuple[Any, ...]] = []
    for kind, form in (("sources", "{}"), ("controls", "({})")):
        for name, block in blocks[0][kind].items():
            cells = (cell(each[kind][name]) for each in blocks)
            rows.append((form.format(name), block["n_generated"], block["n_real"], *cells))
    rows.append(("mean of the sources", None, None, *(cell(each["mean"]) for each in blocks)))
    heads = ("image source", "n", "against", *(TITLES[name] for name in readings))
    return Table(title, heads, tuple(rows), note)


def _means_table(means: Numbers) -> Table:
    return Table(
        "Mean LaRE by source",
        ("image source", "n", "mean LaRE"),
        tuple((s, row["n"], with_interval(row["mean"], row["interval"], digits=4)) for s, row in means.items()),
        "95 % interval by photograph. Figures: answers.json, mean_lare.",
    )
