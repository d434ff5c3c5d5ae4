"""The commands that need no trainer. A new one is a function that takes the arguments after its name.

Each loads what it needs when it is called, so that scoring loads no model and no Lightning.
"""

import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, auto_cli

from cache_schema import (
    SPLITS,
    Cache,
    Dataset,
    IndexView,
    check_dataset,
    check_whole_groups,
    open_cache,
    shown_lines,
    write_json,
)
from cache_schema.program import expand_home
from train.commands.settings_files import LimitedClasses, limit_classes
from train.record import describe_code

if TYPE_CHECKING:
    from train.scoring.scores import Reading

logger = logging.getLogger(__name__)


class Parser(LimitedClasses, ArgumentParser):
    """Tells what is wrong in one sentence; `~` in a setting is the home folder; builds no class that a file names."""

    def __init__(self, *args: Any, addresses: Sequence[str] = (), **how: Any) -> None:
        """As jsonargparse's; `addresses` names the settings that may be places in object storage."""
        self._addresses = addresses
        limit_classes()
        super().__init__(*args, **how)

    def parse_args(self, *args: Any, **how: Any) -> Any:
        """Parse, and put paths in full."""
        parsed = super().parse_args(*args, **how)
        for name, value in list(parsed.items()):
            try:
                parsed[name] = expand_home(value, addresses=name in self._addresses)
            except ValueError as error:
                self.error(str(error))
        return parsed


class DataParser(Parser):
    """A parser whose dataset and caches may lie in object storage."""

    def __init__(self, *args: Any, **how: Any) -> None:
        """As jsonargparse's."""
        super().__init__(*args, addresses=("data", "cache"), **how)


def evaluate_command(arguments: Sequence[str]) -> None:
    """Write results.json from saved predictions, and a short table to the standard output."""
    from train.scoring.evaluate import compare_readings, evaluate
    from train.scoring.prediction_file import COLUMNS, check_origin, hash_predictions, read_origin
    from train.scoring.scores import check_samples, load_reading, parse_named_files

    about = {"prog": "python -m train evaluate", "description": evaluate_command.__doc__}
    parser = DataParser(**about)
    parser.add_argument("--config", action="config", help="YAML with these settings")
    parser.add_argument("--data", type=str, required=True, help="folder with dataset.json: the authority on labels")
    parser.add_argument(
        "--cache", type=str | list[str], required=True, help="cache folder, or several as [A,B], for the record"
    )
    _add_named_files(parser, required=True)
    parser.add_argument(
        "--differences",
        nargs="*",
        default=[],
        metavar="NAME:NAME",
        help="pairs of readings whose AUROCs are subtracted, with paired intervals",
    )
    parser.add_argument("--split", choices=SPLITS, default="test", help="split whose samples are scored")
    parser.add_argument("--out", type=str, required=True, help="results.json to write")
    parser.add_argument(
        "--allow_divided_groups",
        type=bool,
        default=False,
        help="score although groups lie in several splits, so that what was trained on is scored; results say so",
    )
    settings = parser.parse_args(list(arguments))
    try:
        files, validation = parse_named_files(settings.readings), parse_named_files(settings.validation)
        if not settings.cache:
            raise ValueError("--cache names no cache")
        pairs = [tuple(item.partition(":")[::2]) for item in settings.differences]
        for option, names in (("--validation", [*validation]), ("--differences", [n for pair in pairs for n in pair])):
            unknown = sorted(set(names) - files.keys())
            if unknown:
                raise ValueError(f"{option} names {', '.join(unknown)}, which --readings does not")
    except ValueError as error:
        parser.error(str(error))
    folders = [settings.cache] if isinstance(settings.cache, str) else settings.cache
    dataset, caches = Dataset.open(settings.data), [open_cache(folder) for folder in folders]
    for cache in caches:
        check_dataset(cache, dataset.dataset_id)
    allowed = settings.allow_divided_groups
    divided = check_whole_groups(dataset, allowed=allowed, flag="--allow_divided_groups true")
    index = IndexView(dataset, [*COLUMNS, "sha256"])
    for path in (path for named in (files, validation) for paths in named.values() for path in paths):
        for cache in caches:
            check_origin(path, dataset.dataset_id, cache.fingerprint)
    origins = {name: [read_origin(path) for path in paths] for name, paths in files.items()}
    checkpoints = {name: [one and one.checkpoint_sha256 for one in found] for name, found in origins.items()}
    hashes = {name: [hash_predictions(path) for path in paths] for name, paths in files.items()}
    readings = {name: load_reading(index, paths, validation.get(name, ())) for name, paths in files.items()}
    check_samples(readings, settings.split)
    for name, reading in readings.items():
        if None in reading.calibrations:
            logger.warning(
                "%s: no threshold was chosen on validation, what stands at it is null. Name predictions on validation "
                "samples: --validation %s=FILE",
                name,
                name,
            )
    record = {
        **{"dataset_id": dataset.dataset_id, **_describe_caches(caches)},
        **{
            "readings": _as_text(files),
            "readings_sha256": hashes,
            "checkpoints_sha256": checkpoints,
            "validation": _as_text(validation),
            "split": settings.split,
            "divided_groups": divided,
            **_describe_readings(readings),
        },
        **describe_code(),
    }
    results = {"settings": record, **evaluate(readings)}
    for source, pair in results["pairs"].items():
        if pair["n_copies"]:
            logger.info("%s: %d images are byte for byte their photographs, and are left out", source, pair["n_copies"])
    if pairs:
        differences = {f"{a} − {b}": compare_readings(readings[a], readings[b]) for a, b in pairs}
        results["differences"] = differences
    write_json(Path(settings.out), results)
    sys.stdout.write(shown_lines(format_results(results)))
    logger.info("results in %s", settings.out)


def _add_named_files(parser: Parser, *, required: bool) -> None:
    """The two options of which predictions are read."""
    named: dict[str, Any] = {"metavar": "NAME=FILE"}
    parser.add_argument(
        "--readings",
        nargs="+",
        required=required,
        help="predictions; a name given more than once has as many seeds",
        **named,
    )
    parser.add_argument(
        "--validation",
        nargs="*",
        default=[],
        help="predictions on validation samples, in the order of the reading's seeds: threshold, temperature and "
        "unsure bands are fitted on them (default: those stored with the weights)",
        **named,
    )


def _describe_caches(caches: Sequence[Cache]) -> dict[str, Any]:
    """The first cache's fingerprint and fields; those of all where there are several."""
    described = [{"fingerprint": cache.fingerprint, "fields": dict(cache.fields)} for cache in caches]
    return described[0] | ({"caches": described} if len(described) > 1 else {})


def _describe_readings(readings: Mapping[str, "Reading"]) -> dict[str, Any]:
    """What was fitted on validation, and how features differed from those trained on, for each seed."""
    fitted = {name: [one and one.to_dict() for one in reading.calibrations] for name, reading in readings.items()}
    return {
        "thresholds": {name: list(reading.thresholds) for name, reading in readings.items()},
        "calibrations": fitted,
        "allowed_differences": {name: list(reading.allowed_differences) for name, reading in readings.items()},
    }


def _as_text(files: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    return {name: [path.name for path in paths] for name, paths in files.items()}  # their hashes say which


def readings_command(arguments: Sequence[str]) -> None:
    """Write the scores that need no model."""
    from train.commands.readings import write_readings

    prog = "python -m train readings"
    auto_cli(write_readings, args=list(arguments), prog=prog, as_positional=False, parser_class=DataParser)


def export_command(arguments: Sequence[str]) -> None:
    """Write a checkpoint's detector as a folder that can be shared."""
    from train.export import export_checkpoint

    prog = "python -m train export"
    auto_cli(export_checkpoint, args=list(arguments), prog=prog, as_positional=False, parser_class=DataParser)


def matrix_command(arguments: Sequence[str]) -> None:
    """Train on each image source, test on all, with several seeds."""
    from train.commands.matrix import run_matrix

    parser = Parser(prog="python -m train matrix", description=matrix_command.__doc__)
    parser.add_argument(
        "--recipe", nargs="+", required=True, metavar="YAML", help="settings of fit, later files over earlier ones"
    )
    parser.add_argument(
        "--sources",
        nargs="+",
        metavar="SOURCE",
        help="image sources to train on, a row each; all: every one together (default: each of the training split)",
    )
    parser.add_function_arguments(run_matrix, as_group=False, skip={"recipe", "sources"})
    run_matrix(**vars(parser.parse_args(list(arguments))))


def plots_command(arguments: Sequence[str]) -> None:
    """Draw predictions, a matrix, and the most certain right and wrong cases."""
    from train.pictures.draw import draw_pictures

    parser = Parser(prog="python -m train plots", description=plots_command.__doc__)
    _add_named_files(parser, required=False)
    parser.add_function_arguments(draw_pictures, as_group=False, skip={"readings", "validation"})
    draw_pictures(**vars(parser.parse_args(list(arguments))))


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "evaluate": evaluate_command,
    "readings": readings_command,
    "export": export_command,
    "matrix": matrix_command,
    "plots": plots_command,
}


def format_results(results: dict[str, Any]) -> str:
    """The main figures of results.json as a text table, a line a reading and source; controls in brackets.

    Figures have the digits that their images carry: results.json has all. Calls are those at the threshold from
    validation: of sources the balanced accuracy, of sources and controls the share that is called generated.
    """
    from train.scoring.calibration import Calibration, describe_fits
    from train.scoring.intervals import describe_few_groups

    lines = [f"samples of the {split} split"] if (split := results.get("settings", {}).get("split")) else []
    if divided := results.get("settings", {}).get("divided_groups"):
        lines.append(f"scores count images that were trained on: {divided}")
    heads = f"{'n':>6} {'groups':>6} {'bal.acc':>8} {'called':>8} {'AP':>6} {'AUROC':>6}  95 %"
    lines.append(f"{'reading':<20} {'image source':<28} {heads}")
    shown = ("balanced_accuracy_at_val_threshold", "share_called_generated", "average_precision", "auroc")
    few: list[int] = []
    for reading, blocks in results["readings"].items():
        rows = [(_cell(name), block) for name, block in blocks["sources"].items()]
        rows += [(f"({_cell(name)})", block) for name, block in blocks["controls"].items()]
        for name, block in [*rows, ("mean", blocks["mean"])] if blocks["mean"] else rows:
            digits, n_groups = count_digits(min(block["n_real"], block["n_generated"])), block["n_groups"]
            few += [] if n_groups is None else [n_groups]
            figures = [block[key] for key in shown]
            balanced, called, precision, auroc, *ends = (
                "" if value is None else f"{value:.{digits}f}" for value in (*figures, *(block["auroc_interval"] or ()))
            )
            lines.append(
                f"{reading:<20} {name:<28} {block['n_generated']:>6} {n_groups or '':>6} {balanced:>8} "
                f"{called:>8} {precision:>6} {auroc:>6}  {'–'.join(ends)}".rstrip()
            )
    lines.append("bal.acc, called: balanced accuracy and share called generated, at the threshold from validation")
    warning = describe_few_groups(min(few)) if few else None
    fits = results.get("settings", {}).get("calibrations", {})
    for reading, stored in fits.items():
        fitted = [Calibration.from_dict(one) for one in stored if one is not None]
        lines += [f"{reading}: {text}" for text in describe_fits(fitted)]
    return "\n".join([*lines, *([warning] if warning else [])]) + "\n"


def _cell(name: str) -> str:
    """An image source in the table, in quotes where it would read as something else."""
    is_plain = name.isprintable() and name == name.strip() and name != "mean" and not name.startswith("(")
    return name if is_plain and name else repr(name)


def count_digits(num_images: int) -> int:
    """Digits after the point that a share of so many images carries: the last one is about its standard error.

    The standard error is at most 0.5 / √n: 2 digits up to 2,500 images, 3 up to 250,000, never more than 4.
    """
    return min(4, max(2, math.ceil(math.log10(2 * math.sqrt(max(num_images, 1))))))
