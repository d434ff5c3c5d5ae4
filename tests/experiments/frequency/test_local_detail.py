import numpy as np
import pytest
from scipy.stats import spearmanr

from experiments.frequency.local_detail import average_by_source, correlate_ranks, local_energies
from experiments.frequency.telling import MEASURES
from tests.experiments.made_up import make_mean_lare


def grey(values: np.ndarray) -> np.ndarray:
    """A canvas of luma in [0, 1], (h, w)."""
    return np.repeat(np.round(values * 255).astype(np.uint8)[..., None], 3, axis=2)


def test_one_bright_pixel_is_detail_of_its_own_cell() -> None:
    luma = np.zeros((4, 4))
    luma[0, 0] = 1
    gradient, fine = local_energies(grey(luma), (2, 2))
    # Two differences of 1, to the right and down, over the cell's four pixels.
    assert gradient == pytest.approx(np.array([[0.5, 0], [0, 0]]))
    assert fine[0, 0] > 3 * fine[0, 1] > 0
    assert not local_energies(grey(np.full((4, 4), 0.3)), (2, 2)).any()


def test_a_wave_at_half_the_nyquist_frequency_passes_at_half_its_amplitude() -> None:
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * 0.25 * np.arange(32))
    for luma in (np.tile(wave, (32, 1)), np.tile(wave[:, None], (1, 32))):
        _, fine = local_energies(grey(luma), (8, 8))
        assert fine[2:-2, 2:-2] == pytest.approx(0.25**2 / 2, rel=0.1)


def test_correlation_is_spearmans_and_undefined_without_detail() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(0, 5, (2, 3, 20)).astype(float)
    theirs[2] = 1.0
    found = correlate_ranks(ours, theirs)
    assert found[:2] == pytest.approx([spearmanr(a, b).statistic for a, b in zip(ours[:2], theirs[:2], strict=True)])
    assert np.isnan(found[2])


def test_mean_over_a_sources_images_leaves_undefined_ones_out() -> None:
    rows = [(f"{source}/{i}", 0, source, f"g{i}", None, 1.0) for source in ("a", "flat") for i in range(3)]
    values = np.array([0.2, 0.4, np.nan, np.nan, np.nan, np.nan])
    found = average_by_source(make_mean_lare(rows).table, dict.fromkeys(MEASURES, values))
    assert set(found) == set(MEASURES) and set(found["gradient"]) == {"a"}
    one = found["gradient"]["a"]
    assert one.mean == pytest.approx(0.3) and (one.n, one.n_groups) == (2, 2)
    assert one.interval[0] < 0.2 and one.interval[1] > 0.4  # two groups say little
