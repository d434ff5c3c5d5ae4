"""The question on families in tables and charts. Nothing is decided here."""

from collections.abc import Iterator

from experiments.answers.answer import Chart, Table, capitalize
from experiments.answers.readings import make_curve
from experiments.answers.rule import RULE
from experiments.answers.telling import Numbers
from experiments.answers.verdicts import describe_difference, describe_value
from experiments.families.numbers import ALL
from experiments.families.settings import MATCHED, PLAIN, TASKS
from train.scoring.titles import TITLES

AGAINST = {
    PLAIN: "Against photographs",
    MATCHED: "Against VAE reconstructions by the model that made the images, or photographs where it has no decoder",
}
"""Task → what generated images meet."""
INTERVALS = "95 % interval by photograph"


def tables(found: Numbers) -> Iterator[Table]:
    """AUROCs, own probe against others, stacked probes, and noise levels; of each task, as far as there are numbers."""
    for task in reversed(TASKS):
        for reading, cells in found["matrix"][task].items():
            yield Table(
                capitalize(f"{TITLES[reading]}, {task}: AUROC"),
                ("probe", *(f"images of {_name(source)}" for source in (*found["models"], ALL))),
                tuple(
                    (_name(probe), *(describe_value(cells[probe][source]) for source in (*found["models"], ALL)))
                    for probe in found["models"]
                ),
                f"{AGAINST[task]}; {INTERVALS}{_seeds(reading)}. The probe makes the maps.",
            )
        yield _tabulate_gaps(found, task)
        if "stack" in found:
            yield _tabulate_stack(found["stack"][task], task)
        if found.get("sweep"):
            yield _tabulate_sweep(found, task)


def _tabulate_gaps(found: Numbers, task: str) -> Table:
    readings = found["own_less_other"][task]
    pairs = [(source, probe) for source in found["models"] for probe in found["models"] if probe != source]
    return Table(
        f"A model's own probe less another probe, {task}: difference of AUROCs",
        ("images of", "other probe", *(TITLES[reading] for reading in readings)),
        tuple(
            (_name(source), _name(probe), *(describe_difference(gaps[source][probe]) for gaps in readings.values()))
            for source, probe in pairs
        ),
        f"Paired on the same images; a detector is trained on images of its probe's model. {RULE}",
    )


def _tabulate_stack(stack: Numbers, task: str) -> Table:
    aurocs, differences = stack["aurocs"], stack["together_less_chosen"]
    validation = ", ".join(f"{name.upper()} {auroc:.3f}" for name, auroc in stack["validation"].items())
    return Table(
        f"Stacked probes, maps alone, {task}: AUROC",
        ("images of", *(f"probe{'s' * (len(name) > 1)} {name.upper()}" for name in aurocs), "stacked less chosen"),
        tuple(
            (_name(source), *(describe_value(each[source]) for each in aurocs.values()), describe_difference(gap))
            for source, gap in differences.items()
        ),
        f"All are trained on images of A alone. {AGAINST[task]}; {INTERVALS}, ± standard deviation over seeds. "
        f"Validation images of A chose probe {stack['chosen'].upper()}. AUROC there: {validation}. {RULE}",
    )


def _tabulate_sweep(found: Numbers, task: str) -> Table:
    return Table(
        f"Mean LaRE at each noise level, {task}: AUROC on images of all models",
        ("σ of C", "timestep of A", "probe C", "probe A", "C less A"),
        tuple(
            (
                f"{row['sigma']:g}",
                row["timestep"],
                *(describe_value(row["aurocs"][task][probe][ALL]) for probe in ("c", "a")),
                describe_difference(row["c_less_a"][task][ALL]),
            )
            for row in found["sweep"]
        ),
        f"At the timestep A has C's signal-to-noise ratio. {AGAINST[task]}; {INTERVALS}. {RULE}",
    )


def charts(found: Numbers) -> Iterator[Chart]:
    """A chart for each image source: mean LaRE of both swept probes over σ."""
    sweep = found.get("sweep") or []
    for source in (*found["models"], ALL) if sweep else ():
        curves = tuple(
            make_curve(
                f"probe {_name(probe)}, {task}",
                [row["sigma"] for row in sweep],
                [row["aurocs"][task][probe][source] for row in sweep],
            )
            for task in TASKS
            for probe in ("c", "a")
        )
        title = f"Mean LaRE over the noise level, images of {_name(source)}"
        yield Chart(title, "σ of probe C; A at equal noise", "AUROC", curves, reference=0.5)


def _name(letter: str) -> str:
    return "all models" if letter == ALL else letter.upper()


def _seeds(reading: str) -> str:
    return "" if reading == "mean_lare" else ", ± standard deviation over seeds"
