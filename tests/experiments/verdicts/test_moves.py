import pytest

from experiments.verdicts.files import FILES, REFERENCE
from experiments.verdicts.moves import (
    CALLED,
    CURVE_QUANTILES,
    LOST,
    MOVES,
    QUANTILES,
    measure_moves,
    measure_noise,
    name_move,
)
from experiments.verdicts.seen import BY_HASH, PACKED, RESEEDED, Seen
from experiments.verdicts.shares import list_rules
from tests.experiments.verdicts.made_up import DESCRIPTION, FORMAT, GENERATED, REAL, UNSURE, seen


@pytest.mark.parametrize(
    ("before", "after", "move"),
    [
        ("real", "real", "same"),
        ("unsure", "unsure", "same"),
        ("real", "unsure", "to unsure"),
        ("generated", "unsure", "to unsure"),
        ("unsure", "generated", "from unsure"),
        ("unsure", "real", "from unsure"),
        ("real", "generated", "flipped to generated"),
        ("generated", "real", "flipped to real"),
        (None, "real", LOST),
        ("real", None, LOST),
    ],
)
def test_names_of_moves(before: str | None, after: str | None, move: str) -> None:
    assert name_move(before, after) == move and (move in MOVES or move == LOST)


def everywhere(key: str, score: float, label: int, **others: float | None) -> list[Seen]:
    """An image with one score in every file, and others as JPEG files, "JPEG_75"; JPEG is unlike the training."""
    scores = {file: others.get(file.replace(" ", "_"), score) for file in (PACKED, *FILES)}
    return [
        seen(key, value, label, file, unlike=FORMAT if file.startswith("JPEG") else ())
        for file, value in scores.items()
    ]


def test_moves_are_counted_by_file_and_class() -> None:
    images = [
        *everywhere("a", REAL, 0, JPEG_75=GENERATED, JPEG_50=UNSURE),
        *everywhere("b", UNSURE, 0, JPEG_75=REAL, JPEG_50=None),
        *everywhere("c", GENERATED, 1, JPEG_75=REAL),
        *everywhere("d", GENERATED, 1),
        seen("control", GENERATED, None),
    ]
    (rule,) = measure_moves(images, list_rules(DESCRIPTION, (0.01,)))
    assert (rule["asked"], rule["used"]) == ([0.01], 0.01)
    assert [*rule["files"]] == [PACKED, *FILES] and FILES[0] == REFERENCE

    def counts(file: str, check: str, kind: str) -> dict[str, int]:
        found = rule["files"][file][check][kind]
        return {move: number for move, number in found.items() if number and move != CALLED}

    def called(file: str, check: str) -> list[int]:
        return [rule["files"][file][check][kind][CALLED] for kind in ("photographs", "generated")]

    for check in ("checked", "unchecked"):
        assert counts(PACKED, check, "photographs") == counts("half size", check, "generated") == {"same": 2}
    assert counts("JPEG 75", "unchecked", "photographs") == {"flipped to generated": 1, "from unsure": 1}
    assert counts("JPEG 75", "checked", "photographs") == {"to unsure": 1, "from unsure": 1}
    assert counts("JPEG 75", "unchecked", "generated") == {"same": 1, "flipped to real": 1}
    assert counts("JPEG 75", "checked", "generated") == {"to unsure": 1, "flipped to real": 1}
    assert called(REFERENCE, "checked") == called(REFERENCE, "unchecked") == [0, 2]
    assert called("JPEG 75", "checked") == [0, 0] and called("JPEG 75", "unchecked") == [1, 1]
    assert counts("JPEG 50", "unchecked", "photographs") == {"to unsure": 1, LOST: 1}


def noisy(by_hash: list[float], reseeded: list[float | None]) -> list[Seen]:
    """Images of probability 0.5 that move by so much with other noise; the first is not asked again."""
    images = [seen("alone", 0.5)]
    for i, (one, other) in enumerate(zip(by_hash, reseeded, strict=True)):
        images += [seen(f"k{i}", 0.5), seen(f"k{i}", 0.5 + one, file=BY_HASH)]
        images += [seen(f"k{i}", None if other is None else 0.5 - other, file=RESEEDED)]
    return images


def test_noise_is_compared_image_by_image() -> None:
    noise = measure_noise(noisy([0.0, 0.1, 0.2, 0.3], [0.1, 0.1, 0.1, None]))
    assert noise["num_images"] == 3
    assert noise["by_hash"]["mean"] == pytest.approx(0.1) and noise["reseeded"]["mean"] == pytest.approx(0.1)
    named = dict(zip(QUANTILES, noise["by_hash"]["quantiles"], strict=True))
    assert named[0.5] == pytest.approx(0.1) and named[1.0] == pytest.approx(0.2)
    curve = noise["by_hash"]["curve"]
    assert len(curve) == len(CURVE_QUANTILES) and curve[0] == 0.0 and curve[-1] == pytest.approx(0.2)
    assert noise["excess"]["mean"] == pytest.approx(0.0, abs=1e-12) and noise["excess"]["side"] == 0


@pytest.mark.parametrize(("by_hash", "reseeded", "side"), [(0.2, 0.1, 1), (0.1, 0.2, -1)])
def test_an_excess_of_noise_is_seen(by_hash: float, reseeded: float, side: int) -> None:
    noise = measure_noise(noisy([by_hash] * 5, [reseeded] * 5))
    assert noise["excess"]["side"] == side and noise["excess"]["mean"] == pytest.approx(by_hash - reseeded)
