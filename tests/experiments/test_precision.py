from pathlib import Path

import pytest

from cache_schema import Dataset, open_cache
from experiments.precision import describe, find_smallest, list_precisions, measure_bytes, tabulate, tabulate_losses
from experiments.study.study import Study
from tests.experiments.made_up import make_means, make_scored

PRECISIONS = list_precisions("t200-e4", (4, 7))
BYTES = {each.title: 1000.0 * (each.bits or 16) for each in PRECISIONS}


def losses_of(**worse: float) -> dict:
    """Losses of AP on validation and test; m7=0.1: the map-only detector's with 7 bits."""
    titles = {
        "m10": PRECISIONS[1].title,
        "m7": PRECISIONS[2].title,
        "m4": PRECISIONS[3].title,
        "bf16": PRECISIONS[4].title,
    }
    return {
        reading: {
            title: dict.fromkeys(("validation", "test"), make_means(-worse.get(name, 0.0) * (reading == "map_only")))
            for name, title in titles.items()
        }
        for reading in ("mean_lare", "map_only")
    }


def test_caches_of_all_precisions() -> None:
    assert [each.cache for each in PRECISIONS] == [
        "t200-e4",
        *("t200-e4-float16-m10", "t200-e4-float16-m7", "t200-e4-float16-m4"),
        "t200-e4-bf16",
    ]


def test_smallest_precision_has_none_that_is_worse_above_it() -> None:
    assert find_smallest(PRECISIONS, losses_of()).bits == 4
    assert find_smallest(PRECISIONS, losses_of(m4=0.1)).bits == 7
    assert find_smallest(PRECISIONS, losses_of(m7=0.1)).bits == 10  # 4 bits being as good is chance then
    assert find_smallest(PRECISIONS, losses_of(m10=0.1)) == PRECISIONS[0]


@pytest.mark.parametrize(
    ("worse", "begins", "holds"),
    [
        ({}, "No precision that was tried is told to be worse", "is float16, 4 bits: 4,000 bytes a map against 16,000"),
        (
            {"m7": 0.1},
            "Told to be worse than float32 on validation: float16, 7 bits.",
            "is the default, float16, 10 bits",
        ),
        (
            {"m10": 0.1},
            "Told to be worse than float32 on validation: float16, 10",
            "stored as float32; the default, float16",
        ),
        ({"bf16": 0.1}, "Told to be worse than float32 on validation: float32 of bfloat16 models.", "4 bits: 4,000"),
    ],
)
def test_finding(worse: dict[str, float], begins: str, holds: str) -> None:
    losses = losses_of(**worse)
    text = describe(PRECISIONS, losses, find_smallest(PRECISIONS, losses), BYTES)
    assert text.startswith(begins) and holds in text
    assert ("On the test images" in text) == ("m10" not in worse)
    assert (
        f"detector, map only {'−0.100' if 'bf16' in worse else '+0.000'}" in text.partition("bfloat16 models less")[2]
    )


def test_tables_hold_every_precision() -> None:
    scored = {
        r: {each.title: make_scored({"a": 0.5}, {"a": 0.6}) for each in PRECISIONS} for r in ("mean_lare", "map_only")
    }
    table = tabulate(scored, BYTES, dict.fromkeys(BYTES, 0.999))
    assert table.rows[0][:3] == ("float32", 16000, 0.999) and len(table.rows) == 5 and len(table.rows[0]) == 7
    assert [row[0] for row in tabulate_losses(losses_of()).rows] == [each.title for each in PRECISIONS[1:]]


def test_bytes_a_map_are_those_of_the_stores(study: Study) -> None:
    data = study.config.data
    folder = study.cache(study.default_cache)
    sizes = [(folder / name).stat().st_size for name in open_cache(folder).shards()]
    images = sum(
        Dataset.open(data).counts[split][source] for split in Dataset.open(data).counts for source in ("real", "toy")
    )
    assert len(sizes) > 1 and isinstance(folder, Path)
    assert measure_bytes(folder, data) == sum(sizes) / images
