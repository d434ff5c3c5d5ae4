"""How far can verdicts be trusted? Nothing is fitted or chosen here: a detector is asked as people ask it.

Each dataset with its detector is a preset. What was measured of each stays below `out`, and the answer tells them all.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cache_schema import Dataset, write_json
from experiments.answers.answer import Answer, Picture
from experiments.study.fits import Work
from experiments.study.study import Study
from experiments.verdicts.heat import draw_moves
from experiments.verdicts.moves import measure_moves, measure_noise
from experiments.verdicts.seen import PACKED, Seen, load, save, see
from experiments.verdicts.shares import follow_p_values, list_rules, measure_false_alarms, measure_verdicts
from experiments.verdicts.telling import TELLING
from train import DetectorFile
from train.record import describe_code
from workflow.code_hash import hash_code
from workflow.steps import hash_files

logger = logging.getLogger(__name__)

PICTURE = "verdicts.png"
ASKING = ("experiments.verdicts.seen", "detect.detector")
"""What decides what a detector is asked and says."""
CODE = ("experiments.verdicts.verdicts", *ASKING)


def answer(study: Study) -> Answer:
    """How often is a photograph called generated, and does a verdict survive another file of the picture?

    Raises:
        ValueError: If there is no detector, or it is none of `lare export`.
    """
    config = study.config
    if config.detector is None:
        raise ValueError("detector is not set: name the folder of `lare export` with --detector")
    description = DetectorFile.read(config.detector)
    if description.method != "classifier":
        raise ValueError(f"{config.detector} has the method {description.method}: expected a folder of `lare export`")
    folder, dataset = config.out / "sets" / config.preset, Dataset.open(config.data)
    settings = [
        *(description.identity, dataset.dataset_id, hash_files(dataset.index_path)),
        *(config.num_images, hash_code(*ASKING)),
    ]
    path = folder / "seen.parquet"

    def work() -> None:
        assert config.detector is not None
        save(see(config.data, config.detector, config.model, config.num_images), path)

    study.steps.run(f"verdicts-{config.preset}", [path], settings, work)
    measured = numbers(load(path), description, config.false_alarm_rates)
    about = {
        "command": study.command("verdicts"),
        "dataset_id": dataset.dataset_id,
        "num_photographs": dataset.settings.get("num_photographs"),
        "detector": description.identity,
        "num_images": config.num_images,
        "code": hash_code(*CODE),
    }
    write_json(folder / "numbers.json", {**about, **measured, **describe_code()})
    return tell(study, load_sets(config.out / "sets", about["code"]))


def work(study: Study) -> Work:
    """It trains nothing."""
    num = study.config.num_images
    return Work(more=f"verdicts on all test images, and on {num} photographs and {num} generated ones as other files")


def numbers(seen: Sequence[Seen], description: DetectorFile, rates: Sequence[float]) -> dict[str, Any]:
    """All that is measured of one detector on one dataset.

    Args:
        seen: What the detector said of the test images.
        description: The detector's.
        rates: False-alarm rates that are asked for.

    Raises:
        ValueError: If no test photograph can be used.
    """
    rules = list_rules(description, rates)
    packed = [each for each in seen if each.file == PACKED]
    usable = [each for each in packed if each.score is not None]
    photographs = [each for each in usable if each.label == 0]
    if not photographs:
        raise ValueError("the detector can use no test photograph: nothing can be said about false alarms")
    known = description.photographs
    return {
        "num_validation_photographs": len(known.scores),
        "num_validation_groups": known.num_groups,
        "smallest_rate": known.smallest_rate,
        "num_unusable": len(packed) - len(usable),
        "false_alarms": measure_false_alarms(photographs, rules),
        "p_values": follow_p_values(photographs, known.smallest_rate),
        "verdicts": measure_verdicts(usable, rules),
        "moves": measure_moves(seen, rules),
        "noise": measure_noise(seen),
    }


def load_sets(folder: Path, code: str) -> dict[str, Any]:
    """Preset → what was measured, the one with the most groups of test photographs first.

    Args:
        folder: Holds a folder a preset.
        code: Hash of the code; what other code has measured is left out, with a warning.
    """
    sets = {}
    for path in folder.glob("*/numbers.json"):
        name, found = path.parent.name, json.loads(path.read_text(encoding="utf-8"))
        if found.get("code") == code:
            sets[name] = found
        else:
            logger.warning("preset %s was measured by other code and is left out: ask for it again", name)
    return dict(sorted(sets.items(), key=lambda each: (-each[1]["false_alarms"][0]["generated"]["n_groups"], each[0])))


def tell(study: Study, sets: dict[str, Any]) -> Answer:
    """The answer on all sets, with its picture."""
    draw_moves(sets, study.answers / PICTURE)
    note = "At the smallest rate asked for. Rows are files; shares of verdicts against the verdict on the PNG."
    picture = Picture("What becomes of a verdict when the picture comes as another file", PICTURE, note)
    settings = {
        "preset": " and ".join(sets),
        "num_images": {name: each["num_images"] for name, each in sets.items()},
        "num_photographs": {name: _as_text(each["num_photographs"]) for name, each in sets.items()},
        "dataset_id": {name: each["dataset_id"][:12] for name, each in sets.items()},
        "detector": {name: each["detector"][:12] for name, each in sets.items()},
        **describe_code(),
    }
    command = " && ".join(each["command"] for each in sets.values())
    return TELLING.tell("verdicts", {"sets": sets}, command, settings, [picture])


def _as_text(number: Any) -> str:
    """A number of photographs, or one a split, as a dataset's settings have it."""
    if isinstance(number, dict):
        return " + ".join(f"{each} {split}" for split, each in number.items())
    return "unknown" if number is None else str(number)
