import csv
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Dataset, write_dataset
from extract.__main__ import main
from extract.run.noise_study import ImageStatistics, compute_statistics, summarize
from tests.extract.conftest import make_images, pack
from tests.samples import make_sample


def study(models: dict[str, Path], tmp_path: Path, **settings: object) -> int:
    defaults = {"data": tmp_path / "data", "model": models["sd"], "image_size": 64, "device": "cpu", "batch_size": 3}
    defaults |= {"out": tmp_path / "study.csv", "num_draws": 8}
    return main(["noise-study", *(f"--{name}={value}" for name, value in {**defaults, **settings}.items())])


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as f:
        return list(csv.DictReader(f))


def test_statistics_of_two_draws_by_hand() -> None:
    draws = np.array([[[[1.0, 3.0]]], [[[3.0, 3.0]]]], np.float32)
    # Means of the draws are 2 and 3: variance 0.5. Elements: 1, 3 and 3, 3: variances 2 and 0.
    assert compute_statistics(draws) == ImageStatistics(2.5, 0.5, 1.0)


def test_standard_errors_fall_with_the_root_of_the_ensemble() -> None:
    one, four = summarize("real", [ImageStatistics(1.0, 0.04, 1.0), ImageStatistics(3.0, 0.04, 4.0)], [1, 4])
    assert (one.mean_lare, one.num_images) == (2.0, 2)
    assert one.sd_between_images == pytest.approx(2**0.5)
    assert (one.image_standard_error, four.image_standard_error) == (pytest.approx(0.2), pytest.approx(0.1))
    assert one.element_standard_error == pytest.approx(2.5**0.5)
    assert four.element_error_over_mean == pytest.approx(2.5**0.5 / 2 / 2)


def test_standard_errors_are_those_of_known_noise() -> None:
    rng = np.random.default_rng(0)
    images = [compute_statistics(rng.normal(1, 0.5, (16, 4, 8, 8)).astype(np.float32)) for _ in range(200)]
    (result,) = summarize("real", images, [1])
    assert result.element_standard_error == pytest.approx(0.5, rel=0.01)
    assert result.image_standard_error == pytest.approx(0.5 / 16, rel=0.05)


def test_the_command_writes_a_line_a_source_and_size(packed: Dataset, models: dict[str, Path], tmp_path: Path) -> None:
    assert study(models, tmp_path) == 0
    lines = read(tmp_path / "study.csv")
    assert [(line["image_source"], line["num_images"], line["ensemble_size"]) for line in lines] == [
        (source, number, size) for source, number in (("real", "4"), ("toy", "3")) for size in "1248"
    ]
    for line in lines:
        assert 0 < float(line["image_standard_error"]) < float(line["element_standard_error"])
    assert study(models, tmp_path, out=tmp_path / "again.csv", batch_size=1) == 0
    for a, b in zip(lines, read(tmp_path / "again.csv"), strict=True):
        assert float(a["image_standard_error"]) == pytest.approx(float(b["image_standard_error"]), rel=1e-3)


def test_fewer_images_may_be_asked_for(models: dict[str, Path], tmp_path: Path) -> None:
    pack(tmp_path / "data", list(range(7)))
    assert study(models, tmp_path, images_per_source=2, ensemble_sizes="[4]") == 0
    assert [line["num_images"] for line in read(tmp_path / "study.csv")] == ["2", "2"]


def test_images_that_cannot_be_read_are_left_out_and_named(
    models: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = make_images(6)
    images[2] = b"not an image"
    write_dataset(tmp_path / "data", [make_sample(i, image=image) for i, image in enumerate(images)], {})
    assert study(models, tmp_path) == 0
    assert "real/2%2Epng is left out: cannot identify" in caplog.text
    assert read(tmp_path / "study.csv")[0]["num_images"] == "2"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_draws": 1}, "num_draws is 1: expected 2 or more"),
        ({"images_per_source": 0}, "images_per_source is 0"),
        ({"out": "."}, "out is .: it exists"),
        ({"timestep": 1000}, "timestep is 1000"),
    ],
)
def test_wrong_settings_end_as_a_usage_error(
    settings: dict[str, object],
    message: str,
    packed: Dataset,
    models: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        study(models, tmp_path, **settings)
    assert message in capsys.readouterr().err
