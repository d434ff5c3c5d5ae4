"""How much of a score comes from the file: formats and sizes as they come, or matched by packing.

One set of photographs and generated images is packed as it is (`mixed`: its images have several sizes), and by both
ways of matching. Detectors are trained on each; those of the first are tested on all.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cache_schema import SPLITS, Dataset
from experiments.answers.answer import Answer
from experiments.formats.file_facts import score_files
from experiments.formats.half_size import FalseAlarms, compare_half_size, write_half_size
from experiments.formats.raw_set import MANIFEST, make_raw_set
from experiments.formats.scores import Counts, Readings, numbers, score_cells
from experiments.formats.telling import AS_THEY_COME, CELLS, DETECTORS, FILE, TELLING
from experiments.study.fits import Fit, Work
from experiments.study.stage_1 import make_cache, make_cache_like
from experiments.study.study import Study
from workflow.code_hash import hash_code
from workflow.steps import hash_files


def answer(study: Study) -> Answer:
    """How much of a score on files as they come is due to format and size, and do resized photographs raise alarms?"""
    packed = pack_ways(study)
    counts = {way: count_classes(Dataset.open(folder)) for way, folder in packed.items()}
    missing = {way: reason for way, each in counts.items() if (reason := find_missing_class(each))}
    if AS_THEY_COME in missing:
        raise ValueError(f"{packed[AS_THEY_COME]}: {missing[AS_THEY_COME]}")
    data = {way: folder for way, folder in packed.items() if way not in missing}
    settings = study.settings_of(study.cache(study.default_cache))
    caches = {
        way: make_cache(study, f"{way}-{study.default_cache}", *settings, data=folder) for way, folder in data.items()
    }
    runs = {way: fit_detectors(study, way, data[way], caches[way]) for way in data}
    cells = {
        (trained, tested): read_cell(study, (trained, tested), data, caches, runs[trained])
        for trained, tested in CELLS
        if {trained, tested} <= data.keys()
    }
    scores, losses = score_cells(cells)
    alarms = count_false_alarms(study, data, caches, runs)
    about = {"missing": missing, "counts": counts, "is_made_here": study.config.raw is None}
    found = {**numbers(scores, losses, alarms), **about}
    return study.tell("formats", TELLING, found, select_px=list(study.config.select_px))


def work(study: Study) -> Work:
    """What it trains and makes, where each way of packing leaves both classes in each split."""
    names = [(way, f"{way}-{study.default_cache}") for way in list_ways(study)]
    fits = [Fit(f"{v}-{name}", name, v, data=study.config.out / "data" / way) for way, name in names for v in DETECTORS]
    return Work(tuple(fits), f"{len(names)} packings of the set, photographs at half size, and their maps", True)


def pack_ways(study: Study) -> dict[str, Path]:
    """Pack the set as it is and by each way of matching: way → dataset folder.

    Raises:
        ValueError: If there is no source.
    """
    source, after = find_source(study)
    ways = list_ways(study)
    return {way: study.pack(way, source, *arguments, after=after) for way, arguments in ways.items()}


def list_ways(study: Study) -> dict[str, tuple[str, ...]]:
    """Way of packing → its arguments."""
    least, most = study.config.select_px
    return {
        AS_THEY_COME: (),
        "common": ("--match=common",),
        "select": ("--match=select", f"--select_px=[{least},{most}]"),
    }


def find_source(study: Study) -> tuple[Path, str]:
    """What is packed, and the signature of the step that made it, if one did.

    Raises:
        ValueError: If the study names neither such a source nor photographs to make one.
    """
    config = study.config
    if config.raw is not None:
        return config.raw, ""
    if config.photos is None:
        raise ValueError(
            "raw and photos are both null: expected a source in its own formats, or photographs to make one"
        )
    folder, photos, data = config.out / "data" / "raw", config.photos, config.data
    inputs = [hash_files(photos, Dataset.open(data).index_path), hash_code("experiments.formats.raw_set")]
    signature = study.steps.run("raw", [folder], inputs, lambda: make_raw_set(data, photos, folder))
    return folder / MANIFEST, signature


def count_classes(dataset: Dataset) -> Counts:
    """Split → number of photographs and of generated images."""
    rows = dataset.table(["split", "label"]).to_pylist()
    there = Counter((row["split"], row["label"]) for row in rows)
    return {split: (there[split, 0], there[split, 1]) for split in SPLITS}


def find_missing_class(counts: Counts) -> str | None:
    """Which class has no image in which split, or None."""
    for split, of_split in counts.items():
        for number, name in zip(of_split, ("photographs", "generated images"), strict=True):
            if not number:
                return f"it leaves no {name} in {split}"
    return None


def fit_detectors(study: Study, way: str, data: Path, cache: Path) -> dict[str, list[Path]]:
    """Detector → its runs on one packing."""
    return {v: study.fit(f"{v}-{cache.name}", cache, variant=v, data=data) for v in DETECTORS}


def read_cell(
    study: Study,
    cell: tuple[str, str],
    data: Mapping[str, Path],
    caches: Mapping[str, Path],
    runs: Mapping[str, list[Path]],
) -> Readings:
    """All readings of one packing's test images, with detectors and thresholds of another, or the same."""
    trained, tested = cell
    readings = {v: study.predict(runs[v], caches[tested], name=tested, data=data[tested]) for v in DETECTORS}
    readings |= study.readings(caches[tested], data[tested], threshold_from=(caches[trained], data[trained]))
    return readings | {FILE: score_files(data[trained], data[tested])}


def count_false_alarms(
    study: Study,
    data: Mapping[str, Path],
    caches: Mapping[str, Path],
    runs: Mapping[str, Mapping[str, list[Path]]],
) -> dict[tuple[str, str], FalseAlarms]:
    """(packing that gave weights or threshold, reading) → what half size does to the scores of photographs."""
    source, folder = data[AS_THEY_COME], study.config.out / "data" / "half-size"
    settings = [Dataset.open(source).dataset_id, hash_code("experiments.formats.half_size")]
    study.steps.run("half-size", [folder], settings, lambda: write_half_size(source, folder))
    cache = make_cache_like(study, "half-size", caches[AS_THEY_COME], folder)
    readings = {
        (way, v): study.predict(each[v], cache, name="half-size", data=folder)
        for way, each in runs.items()
        for v in DETECTORS
    }
    plain = study.readings(cache, folder, threshold_from=(caches[AS_THEY_COME], source))
    return compare_half_size(readings | {(AS_THEY_COME, name): reading for name, reading in plain.items()})
