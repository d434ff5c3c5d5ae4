"""The measures of canvases at tiny sizes: that they run, what they are called, and that they measure what they say."""

from pathlib import Path

import numpy as np
import pytest

from bench.config import BenchConfig
from bench.measures import canvases
from bench.measures.canvases import (
    FORMS,
    load_photographs,
    make_large_jpeg,
    measure_canvas_codecs,
    measure_canvas_extraction,
    measure_canvas_loader,
    write_canvases,
)
from bench.measures.loader import Epochs
from bench.runner import Context
from cache_schema import decode_image, open_cache, open_canvases, resize_canvas


def context(folder: Path, **settings: int) -> Context:
    return Context(BenchConfig(runs=1, out=folder / "bench.json", **settings), folder)


def test_every_form_is_lossless_and_photographs_are_canvases() -> None:
    canvas = next(load_photographs())
    assert canvas.shape == (256, 256, 3) and canvas.dtype == np.uint8
    for form in FORMS:
        np.testing.assert_array_equal(form.decode(form.encode(canvas)), canvas)


def test_canvases_of_the_epoch_are_those_of_its_files(tmp_path: Path) -> None:
    epochs = Epochs(tmp_path, 3, make_large_jpeg)
    cache = open_cache(write_canvases(epochs, tmp_path / "canvases"))
    store = open_canvases(cache, cache.shards()[0])
    for row, data in enumerate(epochs.jpegs):
        np.testing.assert_array_equal(store.read(row), resize_canvas(decode_image(data), 256))
    store.close()


@pytest.mark.slow
def test_codecs_are_measured_on_photographs(tmp_path: Path) -> None:
    figures = {f.measure: f for f in measure_canvas_codecs(context(tmp_path), max_photographs=4)}
    assert 0 < figures["canvas_bytes_over_raw"].value < 1
    for form in FORMS:
        assert figures[f"canvas_codecs.{form.name}.ms"].value > 0
    ours = figures["canvas_codecs.zstd_1_bitshuffle.bytes"].value
    assert figures["canvas_bytes_over_raw"].value == pytest.approx(ours, rel=1e-3)


@pytest.mark.slow
def test_the_loader_is_measured_with_canvases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    monkeypatch.setattr(canvases, "write_canvases", lambda e, f: made.append(f) or write_canvases(e, f))
    figures = {f.measure: f.value for f in measure_canvas_loader(context(tmp_path), num_images=96)}
    assert len(made) == 1 and set(figures) == {
        "loader_over_authors_500px_w0",
        "loader.authors_500px_w0",
        "loader.ours_500px_w0",
        "loader.ours_canvases_w0",
        "loader.ours_canvases_w0_uint8",
    }
    assert all(value > 0 for value in figures.values())


@pytest.mark.slow
def test_the_job_is_measured_with_canvases(tmp_path: Path) -> None:
    figures = [f.measure for f in measure_canvas_extraction(context(tmp_path, toy_images=8, toy_batch_size=4))]
    assert figures == [
        "job_canvases_over_job_toy",
        "job_canvases_over_job_toy.without",
        "job_canvases_over_job_toy.with",
    ]
    assert len([*(tmp_path / "canvas-64").glob("*.zip")]) == 2
