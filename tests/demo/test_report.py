import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cache_schema import Dataset, Fingerprint, ShardData, Status, create_cache, store_name
from demo.figures import colorize, roc_points
from demo.report import Gallery, Scores, write_report
from train.evaluate import evaluate
from train.readings import COLUMNS, write_readings
from train.scores import load_reading

BLOCKS = ["results", "controls", "pairs", "roc", "histograms", "gallery", "about"]


def make_cache(folder: Path, dataset: Dataset) -> Path:
    """Random maps, the first image of the last test tar rejected."""
    fields = {"image_size": 64, "resize": "squash", "filter": "bicubic", "stored_dtype": "float32"}
    cache = create_cache(folder, dataset.dataset_id, Fingerprint(fields))
    rng = np.random.default_rng(0)
    for n, entry in enumerate(dataset.tars):
        rows = dataset.rows(n).to_pylist()
        status = np.zeros(len(rows), np.uint8)
        lare = rng.chisquare(4, (len(rows), 4, 32, 32)).astype(np.float32)
        if n == len(dataset.tars) - 1:
            status[0], lare[0] = Status.UNREADABLE, np.nan
        hashes = np.stack([np.frombuffer(bytes.fromhex(row["sha256"]), np.uint8) for row in rows])
        reasons = {"0": "damaged"} if status[0] else {}
        attributes = {"tar": entry.name, "rows_sha256": entry.rows_sha256, "reasons": reasons, "provenance": {}}
        cache.write(store_name(entry.name), ShardData([r["key"] for r in rows], lare, status, hashes, attributes))
    return folder


@pytest.fixture(scope="module")
def made(demo_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Dataset, cache, predictions, results and the report made of them."""
    folder = tmp_path_factory.mktemp("report")
    cache = make_cache(folder / "cache", demo_dataset)
    predictions = write_readings(demo_dataset.folder, cache, "test", folder / "predictions")
    scores = pq.read_table(predictions["mean_lare"])
    noise = np.random.default_rng(1).random(len(scores))
    predictions["full"] = folder / "predictions" / "full.parquet"
    pq.write_table(scores.set_column(scores.column_names.index("score"), "score", pa.array(noise)), predictions["full"])
    index = demo_dataset.table([*COLUMNS])
    results = evaluate({name: load_reading(index, [path]) for name, path in predictions.items()}, num_resamples=20)
    (folder / "results.json").write_text(json.dumps({"settings": {}, **results}))
    write_report(
        folder / "results.json",
        predictions,
        demo_dataset.folder,
        cache,
        folder / "report.html",
        title="A title",
        intro="What was run <on what>.",
        limits="What it cannot show.",
        about={"Settings": {"seed": 0}},
    )
    return {"data": demo_dataset.folder, "cache": cache, "folder": folder, "report": folder / "report.html"}


class Page(HTMLParser):
    """Collects elements' attributes and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_report_loads_nothing_from_outside(made: dict[str, Path]) -> None:
    text = made["report"].read_text()
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in {"script", "iframe", "object", "embed"}
        for name in ("src", "href", "srcset", "data", "action"):
            if attributes.get(name):
                assert attributes[name].startswith(("data:", "#")), (tag, attributes)  # type: ignore[union-attr]
    assert not re.search(r"https?:|@import|url\((?!#)", text)


def test_report_has_every_block_and_names_every_source(made: dict[str, Path]) -> None:
    text = made["report"].read_text()
    ids = [attributes["id"] for _, attributes in Page(text).elements if attributes.get("id") in BLOCKS]
    assert ids == BLOCKS
    assert "What was run &lt;on what&gt;. What it cannot show." in text
    results, controls = text.split('id="controls"')[0], text.split('id="controls"')[1].split('id="pairs"')[0]
    for block, names in ((results, ["toy-a", "toy-a-img2img"]), (controls, ["blurred-real", "vae-roundtrip-a"])):
        assert re.findall(r'scope="rowgroup">(\S+)', block) == names
        for reading in ("gradient energy", "mean LaRE", "detector, image + map"):
            assert block.count(f"</span>{reading}</th>") == 2
    assert text.count("<svg") == 4 + 2


def test_report_shows_photographs_beside_their_copies(made: dict[str, Path]) -> None:
    gallery = Gallery(made["data"], made["cache"])
    for family in gallery.families:
        sources = [gallery.rows[key]["image_source"] for key in family]
        assert sources == [s for s in ("real", "toy-a-img2img", "vae-roundtrip-a", "blurred-real") if s in sources]
        assert all(gallery.rows[key]["derived_from"] == family[0] for key in family[1:])
    assert len({gallery.rows[family[0]]["group"] for family in gallery.families}) == len(gallery.families) == 2
    picture = gallery.picture(gallery.families[0][0])
    with Image.open(io.BytesIO(base64.b64decode(picture.image.split(",")[1]))) as image:
        assert image.size == (64, 64)
    assert f"{picture.mean:.3f}" in made["report"].read_text()


def test_gallery_leaves_out_rejected_images(made: dict[str, Path]) -> None:
    gallery = Gallery(made["data"], made["cache"], num_photos=100, num_samples=100)
    dataset = Dataset.open(made["data"])
    rejected = dataset.rows(len(dataset.tars) - 1)["key"][0].as_py()
    assert rejected not in gallery.maps
    assert all(np.isfinite(values).all() for values in gallery.maps.values())


def test_scores_meet_the_reals_of_their_own_subset(tmp_path: Path) -> None:
    columns = {
        "score": [0.1, 0.2, 0.9, 0.8, 0.5, 0.4],
        "label": [0, 0, 1, None, 1, 1],
        "image_source": ["real", "real", "fake", "control", "fake", "fake"],
        "subset": ["a", "b", "a", "b", "a", "a"],
        "split": ["test", "test", "test", "test", "test", "validation"],
    }
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    scores = Scores.load(tmp_path / "scores.parquet")
    for source, expected in (("fake", ([0.9, 0.5, 0.1], [1, 1, 0])), ("control", ([0.8, 0.2], [1, 0]))):
        found = scores.against_reals(source)
        assert (found[0].tolist(), found[1].tolist()) == expected


def test_roc_points_take_ties_together() -> None:
    x, y = roc_points(np.array([0.9, 0.5, 0.5, 0.1]), np.array([1, 1, 0, 0]))
    assert x.tolist() == [0, 0, 0.5, 1]
    assert y.tolist() == [0, 0.5, 1, 1]


def test_colorize_has_one_scale_for_all_maps() -> None:
    low, high = colorize(np.full((2, 2), 0.5), 2.0), colorize(np.array([[0.5, 9.0]]), 2.0)
    assert np.array_equal(low[0, 0], high[0, 0])
    assert np.array_equal(high[0, 1], colorize(np.array([[2.0]]), 2.0)[0, 0])
