"""Which six pictures are asked about, and how the page tells the answers."""

import json
from pathlib import Path

import pytest

from cache_schema import Dataset, write_dataset
from demo.places import PICTURES, VERDICTS
from demo.report.asked import Asked, tell_p_real
from demo.verdicts import choose
from tests.samples import make_sample


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    samples = []
    for i in range(40):
        source = "real" if i % 2 == 0 else ("toy-a", "toy-b")[i // 2 % 2]
        split = "train" if i < 20 else "test"
        fields = {"image_source": source, "split": split, "group": f"{split}-{i % 4 // 2}", "label": i % 2}
        samples.append(make_sample(i, source_path=f"{source}/{i}.png", **fields))
    return write_dataset(tmp_path / "data", samples, {"made_by": "a test"}, max_rows=8)


def test_two_photographs_of_two_scenes_and_an_image_of_each_source_of_the_test_are_chosen(dataset: Dataset) -> None:
    chosen = choose(dataset)
    assert [*chosen] == ["photograph-1.png", "photograph-2.png", "toy-a.png", "toy-b.png"]
    rows = [*chosen.values()]
    assert [row["image_source"] for row in rows] == ["real", "real", "toy-a", "toy-b"]
    assert {row["split"] for row in rows} == {"test"} and rows[0]["group"] != rows[1]["group"]
    assert choose(dataset) == chosen


def test_sources_of_any_name_are_files_of_their_own_in_the_folder(tmp_path: Path) -> None:
    samples = []
    for i, source in enumerate(["real", "real", "../../x", "photograph-1", ".."]):
        fields = {"image_source": source, "split": "test", "group": f"g{i}", "label": int(i > 1)}
        samples.append(make_sample(i, source_path=f"s{i}/{i}.png", **fields))
    chosen = choose(write_dataset(tmp_path / "names", samples, {"made_by": "a test"}, max_rows=8))
    assert len(chosen) == 5 and chosen["photograph-1.png"]["image_source"] == "real"
    assert chosen["generated-photograph-1.png"]["image_source"] == "photograph-1"
    assert all(Path(name).name == name and not name.startswith(".") for name in chosen)


@pytest.mark.parametrize(
    ("p_real", "text"),
    [
        (1.0, "100% of photographs score as high"),
        (0.81, "81% of photographs score as high"),
        (0.5, "1 in 2 photographs scores as high"),
        (1 / 7, "1 in 7 photographs scores as high"),
        (0.001, "1 in 1,000 photographs scores as high"),
        (3 / 20, "1 in 6.7 photographs scores as high"),
    ],
)
def test_p_real_in_words(p_real: float, text: str) -> None:
    assert tell_p_real(p_real) == text


def test_the_page_has_the_answers_and_tells_shared_notes_once(tmp_path: Path) -> None:
    assert Asked.load(tmp_path, 1.0) is None
    (tmp_path / PICTURES).mkdir()
    shared, own = {"code": "false_alarm_rate", "text": "Few."}, {"code": "size", "text": "Large."}
    entries = []
    for name, source, notes in (("a.png", "real", [shared]), ("b.png", "toy", [own, shared])):
        (tmp_path / PICTURES / name).write_bytes(make_sample(0).image)
        entry = {"name": name, "image_source": source, "map": [[0.1, 0.2], [0.3, 0.4]], "notes": notes}
        entries.append({**entry, "verdict": "unsure", "probability": 0.998, "p_real": 0.25})
    content = {"detector": {"false_alarm_rate": 0.143}, "verdicts": entries}
    (tmp_path / VERDICTS).write_text(json.dumps(content))
    asked = Asked.load(tmp_path, 1.0)
    assert asked is not None and asked.notes == ["Few."] and asked.rate == "14.3%"
    first, second = asked.pictures
    assert (first.made_by, first.notes, first.probability) == ("photograph", [], "99.8%")
    assert (second.made_by, second.notes) == ("toy", ["Large."])
    assert first.image.startswith("data:image/png;base64,") and first.map != first.image
