from pathlib import Path

import pytest

from cache_schema import Dataset, open_cache
from experiments.answers.rule import Verdict, judge
from experiments.precision import (
    BFLOAT,
    FULL,
    compare,
    find_smallest,
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


def losses_of(num_seeds: int = 5, **worse: float) -> dict:
    """Losses of AP on validation and test; m7=0.1: the map-only detector's with 7 bits. Mean LaRE has no seeds."""
    titles = {
        "m10": PRECISIONS[1].title,
        "m7": PRECISIONS[2].title,
        "m4": PRECISIONS[3].title,
        "bf16": PRECISIONS[4].title,
    }
    return {
        reading: {
            title: dict.fromkeys(
                ("validation", "test"),
                value(0.0 - worse.get(name, 0.0) * (num > 0), 0.003, 0.001 if num else None, num),
            )
            for name, title in titles.items()
        }
        for reading, num in (("mean_lare", 0), ("map_only", num_seeds))
    }


def test_caches_of_all_precisions() -> None:
    assert [each.cache for each in PRECISIONS] == [
        "t200-e4",
        *("t200-e4-float16-m10", "t200-e4-float16-m7", "t200-e4-float16-m4"),
        "t200-e4-bf16",
    ]


def numbers_of(losses: dict) -> dict:
    scored = {
        name_setting(reading, each.title): make_scored({"a": 0.7}, {"a": 0.6})
        for reading in losses
        for each in PRECISIONS
    }
    found = {
        "bytes_a_map": BYTES,
        "rank_correlations": dict.fromkeys(BYTES, 0.999),
        "margin": 0.01,
        "losses": losses,
        "readings": summarize(scored),
    }
    return as_json(found)


@pytest.mark.parametrize(
    ("worse", "smallest"),
    [({}, name_bits(4)), ({"m4": 0.1}, name_bits(7)), ({"m7": 0.1}, name_bits(10)), ({"m10": 0.1}, FULL)],
)
def test_smallest_precision_is_as_good_as_are_all_with_more_bits(worse: dict[str, float], smallest: str) -> None:
    judged = judge(compare(numbers_of(losses_of(**worse))))
    assert find_smallest(judged, "map_only") == smallest and find_smallest(judged, "mean_lare") == name_bits(4)


def test_finding_tells_each_reading_s_verdicts_and_what_the_fewest_bits_save() -> None:
    numbers = numbers_of(losses_of(m7=0.1, bf16=0.1))
    text, head = finding(numbers), headline(numbers)
    line_with(text, "Mean LaRE: ", Verdict.EQUAL, name_bits(4), BFLOAT)
    worse = line_with(text, "map only: ", Verdict.WORSE, name_bits(7), BFLOAT)
    assert name_bits(4) not in worse
    line_with(text, "as good for mean LaRE", name_bits(4), "4,000 bytes", "16,000")
    line_with(text, "as good for detector, map only", name_bits(10), "10,000 bytes")
    line_with(text, "map only", BFLOAT, "AP on the test", "−0.100")
    assert name_bits(4) in head and name_bits(10) in head and "not shown" in head


def test_two_seeds_show_no_precision_to_be_as_good() -> None:
    numbers = numbers_of(losses_of(num_seeds=2))
    assert headline(numbers).endswith(f"map only: {Verdict.FEW_SEEDS}.")
    line_with(finding(numbers), "map only: ", Verdict.FEW_SEEDS, name_bits(4))
    assert find_smallest(judge(compare(numbers)), "map_only") == FULL


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
