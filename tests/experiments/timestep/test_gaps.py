import pytest

from experiments.answers.verdicts import side_of
from experiments.timestep.gaps import compute_gaps
from tests.experiments.made_up import make_mean_lare


def test_gap_is_paired_where_images_come_from_photographs() -> None:
    rows: list[tuple] = []
    for i in range(6):
        rows.append((f"p{i}", 0, "real", f"g{i}", None, 2.0 + i))
        rows.append((f"f{i}", 1, "img2img", f"g{i}", f"p{i}", 0.9 * (2 + i)))
        rows.append((f"s{i}", 1, "samples", f"s{i}", None, 9.0))
    rows.append(("lone", 1, "img2img", "g9", "missing", 100.0))
    rows.append(("other", 0, "real", "g8", None, 50.0))
    gaps = compute_gaps(make_mean_lare(rows))
    paired = gaps["img2img"]
    assert (paired.n, paired.is_paired, side_of(paired.interval, 0)) == (6, True, -1)
    # A tenth lower in every pair: neither the partnerless image nor the other photograph counts.
    assert paired.relative == pytest.approx(-0.1) and paired.interval == pytest.approx((-0.1, -0.1))
    unpaired = gaps["samples"]
    assert (unpaired.n, unpaired.is_paired) == (6, False)
    assert unpaired.relative == pytest.approx(9.0 / ((2 + 3 + 4 + 5 + 6 + 7 + 50) / 7) - 1)
    assert unpaired.interval[0] < unpaired.relative < unpaired.interval[1]


def test_partner_is_what_was_made_from_the_photograph_where_that_is_the_real_class() -> None:
    rows: list[tuple] = []
    for i in range(3):
        rows.append((f"p{i}", None, "photograph", f"g{i}", None, 100.0))
        rows.append((f"v{i}", 0, "vae-roundtrip", f"g{i}", f"p{i}", 1.0 + i))
        rows.append((f"f{i}", 1, "img2img", f"g{i}", f"p{i}", 2.0 + 2 * i))
    gap = compute_gaps(make_mean_lare(rows))["img2img"]
    assert gap.is_paired and gap.relative == pytest.approx(1.0) and side_of(gap.interval, 0) == 1
