import hashlib
import math

import numpy as np
import pytest

from extract.noise import POSTERIOR_DRAW, noise_probe, sample_draws, sample_noise


def test_noise_is_the_stream_that_caches_were_made_with() -> None:
    golden = [-0.026828499510884285, 2.301689386367798, -0.3031352460384369, 0.5331131815910339, 1.720411777496338]
    np.testing.assert_array_equal(sample_noise(7, "real/a%2Epng", 2, (5,)), np.array(golden, np.float32))


def test_noise_follows_the_documented_rule() -> None:
    digest = hashlib.sha256(b"lare/1|0|-1|key").digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    expected = rng.standard_normal((4, 2, 2), dtype=np.float32)
    np.testing.assert_array_equal(sample_noise(0, "key", POSTERIOR_DRAW, (4, 2, 2)), expected)


def test_noise_is_standard_normal_float32() -> None:
    noise = sample_noise(0, "key", 0, (4, 64, 64))
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 5 / math.sqrt(noise.size)
    assert noise.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("other", [(1, "key", 0), (0, "kez", 0), (0, "key", 1), (0, "key", -1)])
def test_noise_differs_with_seed_key_and_draw(other: tuple[int, str, int]) -> None:
    correlation = np.corrcoef(sample_noise(0, "key", 0, (1000,)), sample_noise(*other, (1000,)))[0, 1]
    assert abs(correlation) < 0.2


def test_more_draws_only_append() -> None:
    np.testing.assert_array_equal(sample_draws(0, "key", 8, (4, 2, 2))[:4], sample_draws(0, "key", 4, (4, 2, 2)))


def test_noise_probe_is_that_of_this_recipe() -> None:
    assert noise_probe() == "e82d1bf901e39c5c3205f4dbcb872e650d0ff653c249e3e16fa1aa5bbba64cdc"
