"""The loaders' comparison: both sides see the same images and maps, and the figures are those that were promised."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from timm.data.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from bench.config import BenchConfig
from bench.measures.loader import IMAGENET_MEAN, IMAGENET_STD, AuthorsDataset, Epochs, measure_loader
from bench.measures.workers import measure_worker_start
from bench.runner import Context
from cache_schema import decode_image

NUM_IMAGES = 60


@pytest.fixture(scope="module")
def epochs(tmp_path_factory: pytest.TempPathFactory) -> Epochs:
    return Epochs(tmp_path_factory.mktemp("epochs"), NUM_IMAGES)


def test_both_ways_load_the_same_images_and_maps(epochs: Epochs) -> None:
    assert epochs.authors(0)() == NUM_IMAGES
    assert epochs.ours(0)() == 48  # whole batches; the others sit this epoch out
    authors = AuthorsDataset(epochs.image_files, epochs.map_files)
    image, lare, _ = authors[7]
    pixels = image * torch.tensor(IMAGENET_STD)[:, None, None] + torch.tensor(IMAGENET_MEAN)[:, None, None]
    canvas = np.asarray(decode_image(epochs.jpegs[7])).transpose(2, 0, 1)
    assert image.shape == (3, 224, 224)
    cropped = (pixels * 255).round().byte().numpy()
    assert any(np.array_equal(cropped, canvas[:, y : y + 224, x : x + 224]) for y in range(33) for x in range(33))
    stored = epochs.cache.read(epochs.cache.shards()[0]).lare[7]
    torch.testing.assert_close(torch.from_numpy(stored.astype(np.float32)), lare, rtol=1e-3, atol=1e-6)


def test_small_images_are_padded_by_the_authors_way(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.full((100, 300, 3), 255, np.uint8))
    torch.save(torch.zeros(4, 32, 32), tmp_path / "map.pt")
    image, _, label = AuthorsDataset([tmp_path / "small.png"], [tmp_path / "map.pt"])[0]
    white, black = ((value - IMAGENET_MEAN[0]) / IMAGENET_STD[0] for value in (1, 0))
    assert image.shape == (3, 224, 224) and label == 0
    assert image[0, 50, 0].item() == pytest.approx(white) and image[0, 150, 0].item() == pytest.approx(black)


def test_our_batches_are_counted_after_normalising(epochs: Epochs, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float]] = []

    def normalize(image: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
        assert image.dtype == torch.uint8
        seen.append((mean.flatten()[0].item(), std.flatten()[0].item()))
        return image

    monkeypatch.setattr("bench.measures.loader.normalize", normalize)
    epochs.ours(0)()
    assert seen == [(pytest.approx(OPENAI_CLIP_MEAN[0]), pytest.approx(OPENAI_CLIP_STD[0]))]


@pytest.mark.slow
def test_measure_gives_its_figures(tmp_path: Path) -> None:
    figures = measure_loader(Context(BenchConfig(runs=1, out=tmp_path / "bench.json"), tmp_path), num_images=96)
    assert [figure.measure for figure in figures[:3]] == [
        "loader_over_authors_w0",
        "loader_over_authors_w2",
        "loader.decode_share",
    ]
    assert all(figure.value > 0 and len(figure.runs) == 1 for figure in figures)
    assert figures[2].value < 1


def test_workers_are_started_in_each_way_and_twice(tmp_path: Path) -> None:
    config = BenchConfig(runs=1, start_workers=1, out=tmp_path / "bench.json")
    figures = {figure.measure: figure for figure in measure_worker_start(Context(config, tmp_path), num_images=96)}
    methods = ("fork", "forkserver", "spawn")
    assert set(figures) == {f"worker_start.{method}_{loader}" for method in methods for loader in ("first", "next")}
    assert all(len(figure.runs) == 1 and figure.low > 0 for figure in figures.values())
