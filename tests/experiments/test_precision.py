from pathlib import Path

import pytest

from cache_schema import Dataset, open_cache
from experiments.precision import (
    BFLOAT,
    FULL,
    find_smallest,
    find_worse,
    finding,
    headline,
    list_precisions,
    measure_bytes,
    name_bits,
    name_setting,
    tables,
)
from experiments.study.settings import summarize
from experiments.study.study import Study
from tests.experiments.made_up import as_json, line_with, make_scored, value

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
            title: dict.fromkeys(("validation", "test"), value(0.0 - worse.get(name, 0.0) * (reading == "map_only")))
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
    assert find_smallest(losses_of()) == name_bits(4)
    assert find_smallest(losses_of(m4=0.1)) == name_bits(7)
    assert find_smallest(losses_of(m7=0.1)) == name_bits(10)  # 4 bits being as good is chance then
    assert find_smallest(losses_of(m10=0.1)) == FULL


def numbers_of(losses: dict) -> dict:
    scored = {
        name_setting(reading, each.title): make_scored({"a": 0.5}, {"a": 0.6})
        for reading in losses
        for each in PRECISIONS
    }
    found = {
        "bytes_a_map": BYTES,
        "rank_correlations": dict.fromkeys(BYTES, 0.999),
        "smallest_not_worse_on_validation": find_smallest(losses),
        "losses": losses,
        "readings": summarize(scored),
    }
    return as_json(found)


@pytest.mark.parametrize(
    ("worse", "named", "smallest"),
    [
        ({}, [], name_bits(4)),
        ({"m7": 0.1}, [name_bits(7)], name_bits(10)),
        ({"m10": 0.1}, [name_bits(10)], FULL),
        ({"bf16": 0.1}, [BFLOAT], name_bits(4)),
    ],
)
def test_finding(worse: dict[str, float], named: list[str], smallest: str) -> None:
    numbers = numbers_of(losses_of(**worse))
    text, head = finding(numbers), headline(numbers)
    assert find_worse(numbers["losses"]) == named and all(name in text.splitlines()[0] for name in named)
    assert smallest in head and ("may not" in head) is ("bf16" in worse)
    sizes = {name_bits(4): ("4,000", "16,000"), name_bits(10): ("10,000", "16,000")}
    if smallest in sizes:
        line_with(text, smallest, "bytes", *sizes[smallest])
        line_with(text, "map only", f"{smallest}:", "+0.000")
    else:
        line_with(text, "stored as float32", name_bits(10))
    line_with(text, "map only", BFLOAT, "−0.100" if "bf16" in worse else "+0.000")


def test_tables_hold_every_precision() -> None:
    table, losses = tables(numbers_of(losses_of()))
    assert table.rows[0][:3] == ("float32", 16000, 0.999) and len(table.rows) == 5 and len(table.rows[0]) == 7
    assert [row[0] for row in losses.rows] == [each.title for each in PRECISIONS[1:]]


def test_bytes_a_map_are_those_of_the_stores(study: Study) -> None:
    data = study.config.data
    folder = study.cache(study.default_cache)
    sizes = [(folder / name).stat().st_size for name in open_cache(folder).shards()]
    images = sum(
        Dataset.open(data).counts[split][source] for split in Dataset.open(data).counts for source in ("real", "toy")
    )
    assert len(sizes) > 1 and isinstance(folder, Path)
    assert measure_bytes(folder, data) == sum(sizes) / images
