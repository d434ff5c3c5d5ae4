import base64
import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from cache_schema import Dataset, Fingerprint, ShardData, Status, create_cache, store_name
from demo.report.certain import Certain
from demo.report.report import load_readings, write_report
from demo.report.summary import describe_results
from train.commands.readings import write_readings
from train.data.datamodule import LareDataModule
from train.pictures.charts import colorize
from train.record import describe_training
from train.scoring.calibration import fit_calibration
from train.scoring.evaluate import evaluate
from train.scoring.matrix import METRICS, add_up
from train.scoring.prediction_file import COLUMNS, prediction_table
from train.scoring.scores import load_reading
from train.task import LareTask
from workflow.figures import INK
from workflow.gallery import Gallery

BLOCKS = ["results", "controls", "pairs", "failed", "benchmark", "other-models", "curves", "scores", "reliability"]
BLOCKS += ["matrix", "certain", "gallery", "about"]
OPTIONAL = {"benchmark", "other-models", "matrix", "certain"}


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


def make_checkpoint(dataset: Dataset, cache: Path, path: Path) -> LareTask:
    """An untrained detector as a checkpoint, with a calibration that no one has measured."""
    data = LareDataModule(str(dataset.folder), str(cache), num_workers=0, crop_px=64)
    task = LareTask(backbone="resnet_tiny_clip", image_size=64, map_channels=4)
    labels = torch.tensor([0, 1] * 20)
    scores = torch.rand(40, generator=torch.Generator().manual_seed(0)) / 2 + labels / 2
    task.calibration = fit_calibration(scores, labels)
    weights = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    torch.save({**weights, "trained_on": describe_training(data)}, path)
    return task


@pytest.fixture(scope="module")
def made(demo_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Dataset, cache, checkpoint, predictions, results, and the report with and without what is optional."""
    folder = tmp_path_factory.mktemp("report")
    cache = make_cache(folder / "cache", demo_dataset)
    files = write_readings(demo_dataset.folder, cache, "test", folder / "predictions")
    validation = write_readings(demo_dataset.folder, cache, "validation", folder / "validation")
    index = demo_dataset.table([*COLUMNS])
    task = make_checkpoint(demo_dataset, cache, folder / "best.ckpt")
    rows = torch.tensor(pq.read_table(files["mean_lare"])["row"].to_pylist())
    logits = torch.from_numpy(np.random.default_rng(1).normal(0, 2, (len(rows), 2))).float()
    files["full"] = folder / "predictions" / "full.parquet"
    pq.write_table(prediction_table(index, rows, logits, task.calibration), files["full"])
    readings = {name: load_reading(index, [files[name]], [path]) for name, path in validation.items()}
    readings["full"] = load_reading(index, [files["full"]])
    fitted = {name: [one.to_dict() for one in reading.calibrations] for name, reading in readings.items()}
    content = {"settings": {"calibrations": fitted}, **evaluate(readings)}
    (folder / "results.json").write_text(json.dumps(content))
    metrics = {"a": {"a": [dict.fromkeys(METRICS, 0.9)] * 2, "b": [dict.fromkeys(METRICS, 0.4)] * 2}}
    (folder / "matrix.json").write_text(json.dumps({"settings": {"seeds": 2}, **add_up(metrics)}))
    texts = {"title": "A title", "intro": "What was run <on what>.", "limits": "What it cannot show."}
    texts["caveat"] = "What is mixed."
    finding = "1 of 1 targets is missed: (1).\n(1) Missed. Target: an <aim>.\n- source: 0.51."
    settings = {"git_commit": "0123456789", "num_photographs": {"train": 900, "test": 300}, "num_seeds": 3}
    benchmark = {"command": "make toy-benchmark", "settings": settings, "finding": finding, "headline": "No & never."}
    (folder / "toy-benchmark.json").write_text(json.dumps(benchmark))
    families = {"command": "lare question families", "settings": settings, "headline": "What <was> found."}
    (folder / "families.json").write_text(json.dumps(families))
    files_there = {"ckpt": "best.ckpt", "matrix": "matrix.json", "benchmark": "toy-benchmark.json"}
    files_there["other_models"] = "families.json"
    everything = {name: folder / file for name, file in files_there.items()}
    for name, optional in (("report.html", everything), ("plain.html", {"matrix": folder / "nowhere.json"})):
        places = (folder / "results.json", files, demo_dataset.folder, cache, folder / name)
        write_report(*places, **texts, about={"Settings": {"seed": 0}}, **optional)
    return {
        **{"data": demo_dataset.folder, "cache": cache, "folder": folder, "readings": readings, "content": content},
        **{"files": files, "index": index, "report": folder / "report.html", "plain": folder / "plain.html"},
    }


class Page(HTMLParser):
    """Collects elements' attributes and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_report_shows_the_targets_of_the_toy_benchmark(made: dict[str, Any]) -> None:
    text = made["report"].read_text()
    assert "<p>No &amp; never.</p>\n<ul><li>(1) Missed. Target: an &lt;aim&gt;.</li></ul>" in text
    assert "used 1,200 photographs" in text and "commit 0123456;" in text
    assert "<p>What &lt;was&gt; found.</p>" in text


def test_report_loads_nothing_from_outside(made: dict[str, Any]) -> None:
    text = made["report"].read_text()
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in {"script", "iframe", "object", "embed"}
        for name in ("src", "href", "srcset", "data", "action"):
            if attributes.get(name):
                assert attributes[name].startswith(("data:", "#")), (tag, attributes)  # type: ignore[union-attr]
    assert not re.search(r"https?:|@import|url\((?!#)", text)


def test_report_has_every_block_and_names_every_source(made: dict[str, Any]) -> None:
    text = made["report"].read_text()
    for file, blocks in (("report", BLOCKS), ("plain", [name for name in BLOCKS if name not in OPTIONAL])):
        page = Page(made[file].read_text())
        assert [attributes["id"] for _, attributes in page.elements if attributes.get("id") in BLOCKS] == blocks
        links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
        assert links == [f"#{name}" for name in blocks]
    assert "What was run &lt;on what&gt;. What it cannot show." in text
    results, controls = text.split('id="controls"')[0], text.split('id="controls"')[1].split('id="pairs"')[0]
    for block, names in ((results, ["toy-a", "toy-a-img2img"]), (controls, ["blurred-real", "vae-roundtrip-a"])):
        assert re.findall(r'scope="rowgroup">(\S+)', block) == names
        for reading in ("gradient energy", "mean LaRE", "detector, image + map"):
            assert block.count(f"</span>{reading}</th>") == 2


def test_sources_show_balanced_accuracy_and_controls_the_share_called_generated(made: dict[str, Any]) -> None:
    results, controls = made["report"].read_text().split('id="controls"')
    controls = controls.split('id="pairs"')[0]
    assert "Balanced<br>accuracy" in results and "Accuracy" not in controls and "accuracy" not in controls
    assert "Called<br>generated" in controls and "Called<br>generated" not in results
    blocks = made["content"]["readings"]["full"]
    source, control = blocks["sources"]["toy-a"], blocks["controls"]["blurred-real"]
    assert f"<td>{source['balanced_accuracy_at_val_threshold']:.3f}</td>" in results
    shares = (control[name] for name in ("share_called_generated", "share_of_reals_called_generated"))
    assert "".join(f"<td>{share:.3f}</td>" for share in shares) in controls


def test_the_number_of_scenes_stands_beside_intervals_and_few_are_told(made: dict[str, Any]) -> None:
    text = made["report"].read_text()
    counts = {b["n_groups"] for r in made["content"]["readings"].values() for b in r["sources"].values()}
    assert all(f"{count} scenes</small>" in text for count in counts)
    assert ("Few groups: " in text) == (min(counts) < 30)
    pair = made["content"]["pairs"]["toy-a-img2img"]
    assert f"<td>{pair['n_groups']}</td></tr>" in text


def test_report_begins_with_pictures_and_a_number_a_reading(made: dict[str, Any]) -> None:
    text = made["report"].read_text()
    top = text.split("<nav>")[0]
    pictures, numbers = top.split('id="numbers"')
    gallery = Gallery(made["data"], made["cache"])
    assert pictures.count('class="scene"') == len(gallery.families) + min(6, len(gallery.samples))
    assert pictures.count('class="scene"><img src="data:image/png') == pictures.count('class="scene"')
    for family in gallery.families:
        for key in family[:2]:
            assert f"{gallery.picture(key).mean:.3f}</b>" in pictures
    means = [reading["mean"]["auroc"] for reading in made["content"]["readings"].values()]
    assert sorted(re.findall(r"<b>(\S+)</b>", numbers)) == sorted(f"{value:.2f}" for value in means)


def test_what_failed_is_told_once(made: dict[str, Any]) -> None:
    text = html.unescape(made["report"].read_text())
    found = describe_results(made["content"])
    assert found.failed
    for finding in (*found.shows, *found.failed):
        assert text.count(finding.text) == 1, finding
    failed = text.split('id="failed"')[1].split("</section>")[0]
    assert all(finding.text in failed for finding in found.failed)


def test_every_reading_is_drawn_for_every_source(made: dict[str, Any]) -> None:
    num_charts = {"curves": 2 * 4, "scores": 3, "reliability": 1, "matrix": len(METRICS), "gallery": 0}
    blocks = dict(re.findall(r'<section id="(\w+)"[^>]*>(.*?)</section>', made["report"].read_text(), flags=re.DOTALL))
    assert {name: blocks[name].count("<svg") for name in num_charts} == num_charts
    for name in ("toy-a", "toy-a-img2img", "blurred-real", "vae-roundtrip-a"):
        assert f'aria-label="ROC curves, {name}"' in blocks["curves"]
        assert len(re.findall(rf">\(?{name}\)?, n = ", blocks["scores"])) == 3


def test_charts_take_their_colours_from_the_page(made: dict[str, Any]) -> None:
    text = made["report"].read_text()
    svgs = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert all("currentColor" in svg and INK not in svg for svg in svgs)
    assert not re.search(r"font-family: (?!var\(--font\))", "".join(svgs))


def test_thresholds_are_those_of_the_results(made: dict[str, Any]) -> None:
    loaded = load_readings(made["content"], made["files"], made["index"])
    assert list(loaded) == ["gradient_energy", "mean_lare", "full"]
    assert {name: reading.calibrations for name, reading in loaded.items()} == {
        name: reading.calibrations for name, reading in made["readings"].items()
    }


def test_certain_cases_are_counted_and_painted_in_one_scale(made: dict[str, Any]) -> None:
    reading = made["readings"]["full"]
    certain = Certain.load(reading, made["data"], made["cache"], made["folder"] / "best.ckpt", num=2)
    labels = np.array([-1 if v is None else v for v in reading.table["label"].to_pylist()])
    called = reading.scores[0] > reading.thresholds[0]
    kinds = ((0, False), (1, True), (0, True), (1, False))
    counts = [((labels == label) & (called == is_called)).sum() for label, is_called in kinds]
    assert [group.count for group in certain.groups] == counts
    assert [group.total for group in certain.groups] == [(labels == label).sum() for label in (0, 1, 0, 1)]
    images = [image for group in certain.groups for image in group.images]
    assert images
    assert all(list(image.layers) == ["image", "LaRE map", "ESR attention"] for image in images)
    assert list(certain.scales) == ["LaRE map", "ESR attention"]
    text = made["report"].read_text()
    assert all(f"<small>{group.count} of {group.total}</small>" in text for group in certain.groups)


def test_report_shows_photographs_beside_their_copies(made: dict[str, Any]) -> None:
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


def test_gallery_leaves_out_rejected_images(made: dict[str, Any]) -> None:
    gallery = Gallery(made["data"], made["cache"], num_photos=100, num_samples=100)
    dataset = Dataset.open(made["data"])
    rejected = dataset.rows(len(dataset.tars) - 1)["key"][0].as_py()
    assert rejected not in gallery.maps
    assert all(np.isfinite(values).all() for values in gallery.maps.values())


def test_colorize_has_one_scale_for_all_maps() -> None:
    low, high = colorize(np.full((2, 2), 0.5), 2.0), colorize(np.array([[0.5, 9.0]]), 2.0)
    assert np.array_equal(low[0, 0], high[0, 0])
    assert np.array_equal(high[0, 1], colorize(np.array([[2.0]]), 2.0)[0, 0])
