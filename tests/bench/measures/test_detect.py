"""The measures of verdicts at tiny sizes: that they run through the real command and the real service."""

from dataclasses import replace

import pytest

from bench.config import BenchConfig
from bench.measures.detect import NAMES, _bodies, measure_detect, measure_detect_memory
from bench.runner import Context
from tests.bench.measures.test_all import TOY_MODEL, by_name


@pytest.fixture
def small(context: Context) -> Context:
    changes = {"toy_model": TOY_MODEL, "toy_image_size": 64, "toy_picture_px": 64, "detect_images": 6}
    config = replace(context.config, **changes, detect_clients=2, detect_memory_images=[2, 3])
    return replace(context, config=config)


@pytest.mark.slow
def test_folder_stages_networks_and_service_are_compared(small: Context) -> None:
    figures = by_name(measure_detect(small))
    rates = {f"{NAMES[0]}.{side}" for side in ("folder", "stages", "alone", "models", "serve_1", "serve_8")}
    assert set(figures) == {*NAMES, f"{NAMES[2]}.eight_a_request", *rates}
    assert [figures[name].target for name in NAMES] == ["≥ 0.95", "≤ 1.15", "≥ 0.85"]
    assert all(figure.low > 0 for figure in figures.values())


@pytest.mark.slow
def test_memory_of_two_folders_is_compared(small: Context) -> None:
    figures = by_name(measure_detect_memory(small))
    assert figures["detect_memory"].target == "≤ 1.1"
    assert figures["detect_memory.small"].low > 50 and figures["detect_memory.large"].unit == "MiB"


def test_bodies_hold_each_picture_once() -> None:
    jpegs = [b"one", b"two", b"three"]
    bodies = [*_bodies(jpegs, 2)]
    assert [body.count(b"filename") for body in bodies] == [2, 1]
    assert all(any(b"\r\n\r\n" + data + b"\r\n" in body for body in bodies) for data in jpegs)


@pytest.mark.parametrize("pair", [[5], [5, 5], [0, 3]])
def test_folders_that_cannot_be_compared_are_refused(pair: list[int]) -> None:
    with pytest.raises(ValueError, match=r"detect_memory_images is .*: expected two numbers, the smaller one first"):
        BenchConfig(detect_memory_images=pair)
