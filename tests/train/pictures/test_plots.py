"""Pictures are drawn for every kind of reading; which cases are chosen, and where the model looks in them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.train.packed import CANVAS_PX, extract, module, pack
from train.detector import Detector
from train.model import LareClassifier
from train.pictures.cases import Case, choose_cases, compute_attention, load_cases
from train.pictures.charts import colorize, compute_probabilities
from train.pictures.draw import compute_tops, draw_cases, draw_pictures, format_probability, paint_case
from train.record import describe_training
from train.scoring.calibration import Calibration, fit_calibration
from train.scoring.matrix import METRICS, add_up
from train.scoring.metrics import precision_recall_points, roc_points
from train.scoring.prediction_file import COLUMNS, prediction_table
from train.scoring.scores import Reading, load_reading
from train.task import LareTask

TINY = {"backbone": "resnet_tiny_clip", "image_size": CANVAS_PX, "map_channels": 3}
CLASSES = {0: "photographs", 1: "generated images"}


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Path]:
    """A packed dataset with its cache, a checkpoint, and predictions of the test split that are partly wrong."""
    dataset = pack(tmp_path / "data")
    cache = extract(dataset, tmp_path / "cache")
    data = module(dataset, cache, crop_px=CANVAS_PX)
    task = LareTask(**TINY)
    rng = np.random.default_rng(0)
    labels = torch.tensor([0, 1] * 20)
    task.calibration = fit_calibration(torch.from_numpy(rng.random(40)) / 2 + labels / 2, labels)
    checkpoint = {
        "state_dict": task.state_dict(),
        "hyper_parameters": dict(task.hparams),
        "trained_on": describe_training(data),
    }
    torch.save(checkpoint, tmp_path / "best.ckpt")
    index = dataset.table([*COLUMNS])
    rows = torch.tensor([i for i, split in enumerate(index["split"].to_pylist()) if split == "test"])
    logits = torch.from_numpy(rng.normal(0, 2, (len(rows), 2))).float()
    pq.write_table(prediction_table(index, rows, logits, task.calibration), tmp_path / "p.parquet")
    return {"data": dataset.folder, "cache": cache.folder, "ckpt": tmp_path / "best.ckpt", "p": tmp_path / "p.parquet"}


def _reading(made: dict[str, Path], num_seeds: int = 1) -> Reading:
    from cache_schema import Dataset

    return load_reading(Dataset.open(made["data"]).table([*COLUMNS]), [made["p"]] * num_seeds)


def test_all_pictures_are_drawn(made: dict[str, Path], tmp_path: Path) -> None:
    metrics = {"a": {"a": [dict.fromkeys(METRICS, 0.9)] * 2, "b": [dict.fromkeys(METRICS, 0.4)] * 2}}
    (tmp_path / "matrix.json").write_text(json.dumps({"settings": {"seeds": 2}, **add_up(metrics)}))
    named = [f"full={made['p']}", f"full={made['p']}"]
    cases = {"ckpt": str(made["ckpt"]), "cache": str(made["cache"])}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "full-roc.png").symlink_to(tmp_path / "letter")  # is replaced, not followed
    draw_pictures(str(tmp_path / "out"), str(made["data"]), named, matrix=str(tmp_path / "matrix.json"), **cases)
    assert not (tmp_path / "letter").exists()
    names = {"roc", "precision-recall", "scores", "reliability", "most-certain-right", "most-certain-wrong"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"full-{n}.png" for n in names} | {"matrix.png"}
    for path in (tmp_path / "out").iterdir():
        assert np.asarray(Image.open(path).convert("L")).std() > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to draw: pass --readings or --matrix"),
        ({"readings": ["a=b"]}, "--readings needs --data"),
    ],
)
def test_what_is_missing_is_named(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        draw_pictures(str(tmp_path), **arguments)


def test_the_most_certain_cases_are_those_farthest_out() -> None:
    labels, scores = [0, 0, 0, 1, 1, 1, None], [0.1, 0.05, 0.9, 0.8, 0.3, 0.95, 0.99]
    table = pa.table({name: labels if name == "label" else [str(i) for i in range(7)] for name in COLUMNS})
    reading = Reading(table, np.array([scores]), (Calibration(0.4),), True)
    chosen = {title: positions.tolist() for title, positions in choose_cases(reading, 2).items()}
    assert chosen == {
        "photographs called real": [1, 0],
        "generated images called generated": [5, 3],
        "photographs called generated": [2],
        "generated images called real": [4],
    }


def test_no_case_is_right_or_wrong_without_a_threshold() -> None:
    table = pa.table({name: [0, 1] if name == "label" else ["a", "b"] for name in COLUMNS})
    with pytest.raises(ValueError, match="no threshold was chosen on validation, so that no case is right or wrong"):
        choose_cases(Reading(table, np.array([[0.2, 0.8]]), (None,), True), 2)


def test_of_samples_that_belong_together_one_is_chosen() -> None:
    columns = {"label": [0] * 5, "group": ["wall", "wall", "hat", "wall", "cup"]}
    table = pa.table({name: columns.get(name, list("abcde")) for name in COLUMNS})
    reading = Reading(table, np.array([[0.02, 0.01, 0.03, 0.04, 0.05]]), (Calibration(0.4),), True)
    assert choose_cases(reading, 2)["photographs called real"].tolist() == [1, 2]
    assert choose_cases(reading, 5)["photographs called real"].tolist() == [1, 2, 4]


def test_a_case_is_what_the_detector_sees(made: dict[str, Path]) -> None:
    reading, detector = _reading(made), Detector.load(made["ckpt"])
    model, data = detector.model, detector.open_data(made["data"], [made["cache"]], "test")
    cases = load_cases(reading, np.array([3, 0]), data, model)
    batch = next(iter(data.test_dataloader()))
    assert [case.key for case in cases] == reading.table["key"].take([3, 0]).to_pylist()
    np.testing.assert_array_equal(cases[0].image, batch["image"][3].permute(1, 2, 0))
    np.testing.assert_allclose(cases[0].lare, batch["lare"][3].mean(dim=0))
    assert cases[0].attention.shape == model.spatial.grid
    assert load_cases(reading, np.array([], dtype=np.int64), data, model) == []


def test_attention_of_an_indifferent_model_is_even() -> None:
    model = LareClassifier(**TINY).eval()
    with torch.no_grad():
        model.spatial.query.weight.zero_()
        model.spatial.error_bias.weight.zero_()
    image, lare = torch.randint(0, 256, (2, 3, CANVAS_PX, CANVAS_PX), dtype=torch.uint8), torch.rand(2, 3, 8, 8)
    attention = compute_attention(model, image, lare)
    cells = attention.shape[1] * attention.shape[2]
    torch.testing.assert_close(attention, torch.full_like(attention, cells / (cells + 1)))
    assert compute_attention(LareClassifier(**TINY, image=False).eval(), image, lare) is None


def test_cases_without_attention_or_alignment_are_drawn(made: dict[str, Path], tmp_path: Path) -> None:
    model = LareClassifier(**TINY, spatial=False, record={"trained_on": describe_training_of(made)}).eval()
    data = Detector(model).open_data(made["data"], [made["cache"]], "test")
    cases = load_cases(_reading(made), np.array([0]), data, model)
    assert cases[0].attention is None
    assert cases[0].is_aligned
    apart = replace(cases[0], is_aligned=False)
    draw_cases("title", {"some": [apart], "none": []}, tmp_path / "cases.png")
    assert (tmp_path / "cases.png").stat().st_size > 1000


def test_a_map_is_painted_over_the_image_only_where_it_lies_on_it() -> None:
    image = np.full((4, 4, 3), 200, np.uint8)
    image[:, 2:] = 20
    case = Case("k", "toy", 0.5, image, lare=np.array([[0.0, 0.0], [1.0, 1.0]], np.float32), attention=None)
    tops = compute_tops([case])
    assert list(tops) == ["LaRE map"]
    over, apart = (paint_case(replace(case, is_aligned=a), tops) for a in (True, False))
    assert np.array_equal(over["image"], image)
    assert np.array_equal(
        apart["LaRE map"], np.kron(colorize(case.lare, tops["LaRE map"]), np.ones((2, 2, 1), np.uint8))
    )
    assert (over["LaRE map"][:, 0] > over["LaRE map"][:, 2]).all()  # the image shows through
    # the opacity rises with the value, from 0.2 to 0.8
    low, high = (over["LaRE map"][row, 0].astype(int) - over["LaRE map"][row, 2] for row in (0, 3))
    assert (low > 3 * high).all()
    even = replace(case, attention=np.ones((2, 2), np.float32))
    assert compute_tops([even])["ESR attention"] == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.0004, "< 0.001"), (0.0006, "0.001"), (0.9994, "0.999"), (0.99951, "> 0.999"), (1.0, "1.000")],
)
def test_a_probability_is_not_shown_as_more_certain_than_it_is(value: float, text: str) -> None:
    assert format_probability(value) == text


def test_probabilities_come_with_the_temperature_where_each_seed_has_one() -> None:
    labels = [0, 1, 1, 0, None]
    table = pa.table({name: labels if name == "label" else list("abcde") for name in COLUMNS})
    scores = np.array([[0.1, 0.9, 0.6, 0.4, 0.5]])
    raw = Reading(table, scores, (Calibration(0.5),), True)
    fitted = replace(raw, calibrations=(Calibration(0.5, 2.0, ((0.4, 0.6),)),))
    assert [one.temperature for one in compute_probabilities(raw)] == [[]]
    plain, scaled = compute_probabilities(fitted)
    assert plain.labels.tolist() == [0, 1, 1, 0]
    assert plain.errors == [pytest.approx(0.25)]
    assert scaled.temperature == [2.0]
    odds = np.sqrt(np.array([1 / 9, 9, 1.5, 1 / 1.5]))
    np.testing.assert_allclose(scaled.scores, [odds / (1 + odds)])


def describe_training_of(made: dict[str, Path]) -> dict:
    return torch.load(made["ckpt"], weights_only=True)["trained_on"]


def test_weights_that_do_not_say_what_they_were_trained_on_are_refused(made: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="do not say what they were trained on"):
        Detector(LareClassifier(**TINY)).open_data(made["data"], [made["cache"]], "test")


def test_curves_end_where_they_should() -> None:
    scores, labels = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
    x, y = roc_points(scores, labels)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(0.75)
    recall, precision = precision_recall_points(scores, labels)
    assert (recall[0], precision[0], recall[-1], precision[-1]) == (1, 0.5, 0.5, 1)
