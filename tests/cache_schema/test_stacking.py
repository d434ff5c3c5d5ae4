"""Maps of different grids side by side."""

import numpy as np
import pytest

from cache_schema import stack_maps, stacked_shape


def maps(channels: int, side: int, dtype: type = np.float32) -> np.ndarray:
    rng = np.random.default_rng(channels)
    return rng.random((2, channels, side, side)).astype(dtype)


def test_finer_maps_are_averaged_over_the_cells_of_the_coarsest() -> None:
    coarse, fine = maps(16, 4), maps(3, 8)
    stacked = stack_maps([fine, coarse])
    assert stacked.shape == (2, 19, 4, 4) == (2, *stacked_shape([(3, 8, 8), (16, 4, 4)]))
    np.testing.assert_array_equal(stacked[:, 3:], coarse)
    assert stacked[1, 2, 3, 0] == pytest.approx(fine[1, 2, 6:8, 0:2].mean())


def test_maps_of_one_grid_are_as_they_were() -> None:
    one, two = maps(4, 8, np.float16), maps(8, 8, np.float16)
    stacked = stack_maps([one, two])
    assert stacked.dtype == np.float16 and np.array_equal(stacked, np.concatenate([one, two], axis=1))
    assert stack_maps([one]) is one


def test_a_rejected_image_stays_rejected() -> None:
    fine = maps(3, 8)
    fine[0] = np.nan
    stacked = stack_maps([fine, maps(4, 4)])
    assert np.isnan(stacked[0, :3]).all() and np.isfinite(stacked[1]).all()


def test_grids_without_a_common_one_are_refused() -> None:
    with pytest.raises(ValueError, match="maps of 8 x 8, 6 x 6 cells cannot be stacked: 6 x 6 does not divide all"):
        stack_maps([maps(4, 8), maps(4, 6)])
