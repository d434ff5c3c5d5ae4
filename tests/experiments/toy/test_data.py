from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_schema import Dataset, read_image_bytes
from demo.toy.images import ToyModel
from demo.toy.photos import Tile
from demo.toy.sources import classes_of, load_makings
from experiments.toy.data import GUIDANCES, TASKS, build_datasets
from experiments.toy.photos import load_generator_tiles
from tests.experiments.conftest import SOURCES
from train.scoring.evaluate import evaluate, select_sources
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading

GENERATED = tuple(f"toy-{letter}{suffix}" for letter in "abcd" for suffix in ("", "-img2img"))
ROUNDTRIPS = {"a": "vae-roundtrip-a", "b": "vae-roundtrip-b", "c": "vae-roundtrip-c", "d": "real-d"}
GUIDED = tuple(f"toy-a-guidance-{g:g}" for g in GUIDANCES)
CONTROLS = {
    "plain": {*ROUNDTRIPS.values(), "blurred-real", "real-other-domain", "generator-real", *GUIDED},
    "decoder-matched": {"real", "blurred-real", "real-other-domain", "generator-real", *GUIDED},
}


@pytest.fixture(scope="module")
def datasets(
    tiles: list[Tile],
    models: list[ToyModel],
    generator_photographs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Dataset]:
    root = tmp_path_factory.mktemp("toy-data")
    folders = {task: root / task for task in TASKS}
    test = [tile for tile in tiles if tile.role == "test"]
    others = [Tile("coffee", 0, k, "other-domain/cup", "test", test[0].pixels[::-1]) for k in range(3)]
    generator = load_generator_tiles(generator_photographs, test, seed=0)
    build_datasets(folders, tiles, models, others, generator, {"made_by": "a test"})
    return {task: Dataset.open(folder) for task, folder in folders.items()}


def rows_of(dataset: Dataset) -> list[dict[str, Any]]:
    return dataset.table().to_pylist()


def random_reading(dataset: Dataset) -> Reading:
    index = dataset.table([*COLUMNS])
    index = index.filter(np.array(index["split"].to_pylist()) == "test")
    scores = np.random.default_rng(0).random((2, len(index)))
    return Reading(index, scores, (None, None), is_probability=True)


def test_both_tasks_have_the_same_images_in_the_same_rows(datasets: dict[str, Dataset]) -> None:
    plain, matched = datasets.values()
    assert plain.dataset_id == matched.dataset_id  # so that one cache serves both
    assert [tar.rows_sha256 for tar in plain.tars] == [tar.rows_sha256 for tar in matched.tars]
    same = [name for name in plain.table().column_names if name not in ("label", "subset", "offset")]
    assert plain.table(same).equals(matched.table(same))
    assert plain.counts == matched.counts and load_makings(plain.folder) == load_makings(matched.folder)
    for row, other in list(zip(rows_of(plain), rows_of(matched), strict=True))[::7]:
        data, again = (
            read_image_bytes(dataset.folder / row["tar"], place["offset"], place["size"])
            for dataset, place in ((plain, row), (matched, other))
        )
        assert data == again


def test_labels_of_each_task(datasets: dict[str, Dataset]) -> None:
    real = {"plain": {"real"}, "decoder-matched": {*ROUNDTRIPS.values()}}
    for task, dataset in datasets.items():
        sources = defaultdict(set)
        for row in rows_of(dataset):
            sources[row["label"]].add(row["image_source"])
        assert sources == {0: real[task], 1: set(GENERATED), None: CONTROLS[task]}


def test_each_source_meets_its_own_negatives(datasets: dict[str, Dataset]) -> None:
    for task, dataset in datasets.items():
        reading = random_reading(dataset)
        met = {}
        for label in (1, None):
            for name, chosen, labels in select_sources(reading, label):
                met[name] = set(reading.table["image_source"].take(chosen[labels == 0]).to_pylist())
        for name in (*GENERATED, *CONTROLS[task]):
            own = ROUNDTRIPS[name[4]] if name in GENERATED else "vae-roundtrip-a"
            assert met[name] == ({"real"} if task == "plain" else {own})


def test_negatives_of_the_matched_task_are_of_the_same_photographs(datasets: dict[str, Dataset]) -> None:
    of_source = defaultdict(set)
    for row in rows_of(datasets["decoder-matched"]):
        of_source[row["image_source"], row["split"]].add(row["derived_from"])
    for split in ("train", "validation", "test"):
        assert of_source["toy-a-img2img", split] == of_source["vae-roundtrip-a", split] != set()
    for letter in "bcd":
        assert of_source[f"toy-{letter}-img2img", "test"] == of_source[ROUNDTRIPS[letter], "test"] != set()


def test_photographs_stay_as_they_are_for_a_model_of_pixels(datasets: dict[str, Dataset]) -> None:
    rows = rows_of(datasets["decoder-matched"])
    hashes = {row["key"]: row["sha256"] for row in rows if row["image_source"] == "real"}
    copies = [row for row in rows if row["image_source"] == "real-d"]
    assert copies and all(row["sha256"] == hashes[row["derived_from"]] for row in copies)


def test_no_photograph_is_in_two_splits(datasets: dict[str, Dataset]) -> None:
    splits = defaultdict(set)
    rows = rows_of(datasets["plain"])
    group_of = {row["key"]: row["group"] for row in rows}
    for row in rows:
        splits[row["group"]].add(row["split"])
        assert row["derived_from"] is None or group_of[row["derived_from"]] == row["group"]
    assert all(len(own) == 1 for own in splits.values())


def test_detectors_train_on_the_first_model_alone(datasets: dict[str, Dataset]) -> None:
    counts = datasets["plain"].counts
    for split in ("train", "validation"):
        assert set(counts[split]) == {"real", "toy-a", "toy-a-img2img", "vae-roundtrip-a"}
        assert len(set(counts[split].values())) == 1
    assert set(counts["test"]) == {"real", *GENERATED, *CONTROLS["plain"]}


def test_controls_are_in_no_mean(datasets: dict[str, Dataset]) -> None:
    for task, dataset in datasets.items():
        block = evaluate({"full": random_reading(dataset)})["readings"]["full"]
        assert set(block["sources"]) == set(GENERATED) and set(block["controls"]) == CONTROLS[task]
        assert block["mean"]["auroc"] == pytest.approx(np.mean([b["auroc"] for b in block["sources"].values()]))
        assert block["mean"]["n_generated"] == sum(dataset.counts["test"][source] for source in GENERATED)


def test_class_samples_are_in_the_proportions_of_the_photographs(
    datasets: dict[str, Dataset], tiles: list[Tile]
) -> None:
    test = [tile for tile in tiles if tile.role == "test"]
    assert {tile.class_name for tile in test} == {"daisy", None}  # of the unknown ones, other classes in turn
    rows = [row for row in rows_of(datasets["plain"]) if row["split"] == "test"]
    for source in ("toy-a", "toy-b"):
        assert Counter(r["class_name"] for r in rows if r["image_source"] == source) == Counter(classes_of(test))


def test_strengths_and_guidances_can_be_told_of_every_image(datasets: dict[str, Dataset]) -> None:
    for dataset in datasets.values():
        makings, seen = load_makings(dataset.folder), defaultdict(set)
        for row in rows_of(dataset):
            seen[row["image_source"]].add((makings[row["key"]].strength, makings[row["key"]].guidance))
        assert seen["toy-a-img2img"] == {(strength, 3.0) for strength in SOURCES.strengths}
        assert seen["toy-a"] == {(None, guidance) for guidance in SOURCES.sample_guidances}
        for source, guidance in zip(GUIDED, GUIDANCES, strict=True):
            assert seen[source] == {(None, guidance)}


def test_prompts_that_are_known_say_the_class_and_the_others_a_photo(datasets: dict[str, Dataset]) -> None:
    makings = load_makings(datasets["plain"].folder)
    for row in rows_of(datasets["plain"]):
        if row["image_source"] == "toy-a-img2img":
            is_daisy = "flowers/daisy" in row["key"]
            assert makings[row["key"]].prompt == ("a photo of daisy" if is_daisy else "a photo")


def test_guidance_is_all_that_differs_between_guided_samples(datasets: dict[str, Dataset]) -> None:
    rows, makings = rows_of(datasets["plain"]), load_makings(datasets["plain"].folder)
    groups = defaultdict(list)
    for row in rows:
        if row["image_source"] in GUIDED:
            groups[row["group"]].append(row)
    num_photographs = len({row["group"] for row in rows if row["image_source"] == "real" and row["split"] == "test"})
    assert len(groups) == num_photographs
    for own in groups.values():
        assert {row["image_source"] for row in own} == set(GUIDED) and {row["split"] for row in own} == {"test"}
        assert len({makings[row["key"]].prompt for row in own}) == 1
        assert len({row["sha256"] for row in own}) == len(GUIDANCES)
