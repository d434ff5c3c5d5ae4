"""The authors' way computes what we compute, given the same noise."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.authors import AuthorsWay
from bench.measures.extraction import Comparison, Setting
from bench.runner import Context
from cache_schema import open_cache
from extract.noise import POSTERIOR_DRAW, sample_draws, sample_noise

LATENT_SHAPE = (4, 8, 8)


def compare(context: Context, model: Path) -> Comparison:
    return Comparison(context, Setting("toy", model, 64, 64, num_images=3, batch_size=2, is_one_core=False))


def test_authors_map_is_our_map_given_our_noise(context: Context, tiny_model: Path):
    both = compare(context, tiny_model)
    both.run_job()
    cache = open_cache(both.config.cache)
    stored = [cache.read(name) for name in cache.shards()]
    keys = [key for shard in stored for key in shard.keys]
    ours = np.concatenate([shard.lare for shard in stored]).astype(np.float32)
    assert len(keys) == len(both.files)
    for key, file, lare in zip(keys, both.files, ours, strict=True):

        def posterior(shape: tuple[int, ...], key: str = key) -> Tensor:
            assert shape == (1, *LATENT_SHAPE)
            return torch.from_numpy(sample_noise(0, key, POSTERIOR_DRAW, LATENT_SHAPE))[None]

        def noise(shape: tuple[int, ...], key: str = key) -> Tensor:
            assert shape == (2, *LATENT_SHAPE)
            return torch.from_numpy(sample_draws(0, key, 2, LATENT_SHAPE))

        theirs = both.authors.compute_map(file, posterior, noise).numpy()
        assert theirs.shape == lare.shape
        assert np.abs(theirs - lare).max() <= 1e-3 * theirs.max()  # the store keeps float16


def test_authors_way_writes_one_float32_map_a_file_and_never_the_same_twice(tiny_model: Path, context: Context):
    both = compare(context, tiny_model)
    both.run_authors()
    files = sorted(both.maps.iterdir())
    assert [f.name for f in files] == ["000000.pt", "000001.pt", "000002.pt"]
    first = torch.load(files[0])
    assert (first.shape, first.dtype) == (LATENT_SHAPE, torch.float32)
    assert (first > 0).all()
    both.run_authors()
    assert not torch.equal(torch.load(files[0]), first)  # no seed anywhere


def test_authors_way_encodes_the_text_for_every_image(context: Context, tiny_model: Path, tmp_path: Path):
    both = compare(context, tiny_model)
    authors = AuthorsWay(tiny_model, torch.device("cpu"), 64, 200, 2, "a photo")
    calls = []
    authors.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    authors.run(both.files, tmp_path)
    assert len(calls) == len(both.files)
