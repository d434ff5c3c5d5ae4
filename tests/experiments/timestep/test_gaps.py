import pytest

from experiments.timestep.gaps import Gap, compute_gaps, describe_signs, draw_gaps, tabulate_gaps
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
    assert (paired.n, paired.is_paired, paired.sign) == (6, True, -1)
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
    assert gap.is_paired and gap.relative == pytest.approx(1.0) and gap.sign == 1


def gaps_of(signs: dict[str, list[int]]) -> dict[int, dict[str, Gap]]:
    return {
        t: {
            source: Gap(0.1 * s[i], (0.1 * s[i] - 0.05, 0.1 * s[i] + 0.05), 7, s[0] == 0) for source, s in signs.items()
        }
        for i, t in enumerate((50, 200))
    }


def test_finding_says_first_what_is_never_lower() -> None:
    text = describe_signs(gaps_of({"good": [-1, -1], "bad": [1, 0], "mixed": [1, -1]}))
    assert text == (
        "At no timestep is the mean LaRE of 1 of 3 image sources told to be lower than that of real images "
        "(bad: higher at t = 50, not told apart at t = 200; mixed: higher at t = 50, lower at t = 200; "
        "good: lower at every t)."
    )
    assert "(level: told apart at no t)." in describe_signs(gaps_of({"level": [0, 0]}))
    assert describe_signs(gaps_of({"good": [-1, 0]})).startswith("For every image source there is a timestep at which")


def test_gap_without_interval_has_no_sign() -> None:
    gap = Gap(0.5, None, 1, False)
    assert gap.sign == 0
    assert draw_gaps({50: {"one": gap}, 200: {"one": gap}}).curves[0].low is None
    assert tabulate_gaps({50: {"one": gap}}).rows == (("one", 1, "0.500"),)


def test_table_and_chart_hold_the_gaps() -> None:
    gaps = gaps_of({"a": [0, 1], "b": [-1, -1]})
    table, chart = tabulate_gaps(gaps), draw_gaps(gaps)
    assert table.columns == ("image source", "n", "t = 50", "t = 200")
    assert table.rows[1] == ("b", 7, "−0.100 (−0.150 to −0.050)", "−0.100 (−0.150 to −0.050)")
    assert table.note.endswith("Paired with the real image of their own photograph: a.")
    assert chart.curves[0].x == (50, 200) and chart.curves[0].y == (0.0, 0.1) and chart.curves[0].low == (-0.05, 0.05)
