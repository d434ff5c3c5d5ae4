"""results.json, predictions, dataset and cache → one self-contained page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cache_schema import Dataset, Status, decode_image, open_cache, read_image_bytes
from demo.figures import color_bar, color_of, colorize, histogram_chart, png_uri, roc_chart
from demo.summary import TITLES, describe_results, order_readings

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Scores:
    """The test predictions of one reading."""

    score: np.ndarray
    label: np.ndarray
    """0, 1, or -1 for a control."""
    image_source: np.ndarray
    subset: np.ndarray

    @classmethod
    def load(cls, path: Path) -> "Scores":
        """Read the columns of a predictions file that the charts need; rows without a score are left out."""
        table = pq.read_table(path, columns=["score", "label", "image_source", "subset", "split"])
        table = table.filter(pc.and_(pc.equal(table["split"], "test"), pc.is_valid(table["score"])))
        label = pc.fill_null(table["label"].cast("int64"), -1).to_numpy()
        names = (np.array(table[c].to_pylist(), dtype=object) for c in ("image_source", "subset"))
        return cls(table["score"].to_numpy(), label, *names)

    def against_reals(self, image_source: str) -> tuple[np.ndarray, np.ndarray]:
        """(scores, labels) of a source, generated or control, and of the reals of its own subset."""
        chosen = self.image_source == image_source
        real = (self.label == 0) & np.isin(self.subset, np.unique(self.subset[chosen]))
        labels = np.concatenate([np.ones(chosen.sum(), int), np.zeros(real.sum(), int)])
        return np.concatenate([self.score[chosen], self.score[real]]), labels


@dataclass(frozen=True)
class Picture:
    """An image beside its map, ready for the page."""

    image_source: str
    image: str
    """Data URI."""
    map: str
    mean: float


class Gallery:
    """Test images and their maps, all maps in one colour scale.

    Args:
        data: Dataset folder.
        cache: Cache folder of that dataset.
        num_photos: Photographs to show, one of each group as far as there are that many groups.
    """

    def __init__(self, data: Path, cache: Path, num_photos: int = 6, num_samples: int = 8) -> None:
        """Choose the images and read their maps."""
        self.dataset = Dataset.open(data)
        self.rows = {row["key"]: row for row in self.dataset.table().to_pylist() if row["split"] == "test"}
        self.tars = {entry.name: self.dataset.tar_path(n) for n, entry in enumerate(self.dataset.tars)}
        self.maps = self._read_maps(cache)
        copies: dict[str, list[str]] = {}
        for key, row in self.rows.items():
            if row["derived_from"] in self.maps and key in self.maps:
                copies.setdefault(row["derived_from"], []).append(key)
        photos = self._one_a_group(sorted(copies), num_photos)
        self.families = [[p, *sorted(copies[p], key=self._source_order)] for p in photos]
        lone = sorted(k for k in self.maps if self.rows[k]["label"] == 1 and not self.rows[k]["derived_from"])
        step = max(1, len(lone) // num_samples)
        self.samples = lone[::step][:num_samples]
        shown = [k for family in self.families for k in family] + self.samples
        # The few highest cells would make all others dark.
        self.top = float(np.quantile([self.maps[k] for k in shown], 0.995)) if shown else 1.0

    def _read_maps(self, cache: Path) -> dict[str, np.ndarray]:
        opened = open_cache(cache)
        maps: dict[str, np.ndarray] = {}
        for name in opened.shards():
            if not name.startswith("test-"):
                continue
            shard = opened.read(name)
            ok = shard.status <= Status.OK_AFTER_FP32
            maps |= {shard.keys[i]: shard.lare[i].astype(np.float32).mean(axis=0) for i in np.flatnonzero(ok)}
        return {key: value for key, value in maps.items() if key in self.rows}

    def _one_a_group(self, keys: list[str], count: int) -> list[str]:
        # Of each photograph's tiles the middle one in mean LaRE: neither the flattest nor the busiest.
        groups: dict[str, list[str]] = {}
        for key in keys:
            groups.setdefault(self.rows[key]["group"], []).append(key)
        middles = [sorted(g, key=lambda k: float(self.maps[k].mean()))[len(g) // 2] for g in groups.values()]
        step = max(1, len(middles) // count)
        return middles[::step][:count]

    def _source_order(self, key: str) -> tuple[bool, bool, str]:
        row = self.rows[key]
        return row["label"] is None, "blur" in row["image_source"], row["image_source"]

    def picture(self, key: str) -> Picture:
        """One image with its map."""
        row, values = self.rows[key], self.maps[key]
        data = read_image_bytes(self.tars[row["tar"]], row["offset"], row["size"])
        pixels = np.asarray(decode_image(data))
        return Picture(row["image_source"], png_uri(pixels), png_uri(colorize(values, self.top)), float(values.mean()))


def write_report(
    results: Path,
    predictions: Mapping[str, Path],
    data: Path,
    cache: Path,
    out: Path,
    *,
    title: str,
    intro: str,
    limits: str,
    about: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the page: summary, tables, controls, pairs, ROC curves, histograms, gallery, settings. No external loads.

    Args:
        results: results.json.
        predictions: {reading: test predictions (Parquet)}; must hold `mean_lare`.
        data: Dataset folder.
        cache: Cache folder whose maps are shown.
        out: HTML file to write.
        title: Heading of the page.
        intro: One or two sentences: what was run on what.
        limits: One or two sentences: what such a run cannot show, whatever its numbers.
        about: {heading: {name: value}} for the foot of the page: commit, versions, settings.
    """
    content = json.loads(results.read_text())
    readings = order_readings(content)
    scores = {name: Scores.load(predictions[name]) for name in readings}
    first = content["readings"][readings[0]]
    sources, controls = list(first["sources"]), list(first["controls"])
    colors = color_of(readings)
    gallery = Gallery(data, cache)
    mean = scores["mean_lare"]
    real = mean.image_source[mean.label == 0][0]
    values = {name: -mean.score[mean.image_source == name] for name in [real, *sources, *controls]}
    hues = color_of([*sources, *controls])
    charts = {
        name: roc_chart({r: scores[r].against_reals(name) for r in readings}, colors, f"ROC curves, {name}")
        for name in [*sources, *controls]
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=title,
        intro=intro,
        limits=limits,
        summary=describe_results(content),
        readings={name: content["readings"][name] for name in readings},
        titles={name: TITLES.get(name, name) for name in readings},
        colors=colors,
        sources=sources,
        controls=controls,
        pairs=content.get("pairs", {}),
        roc=charts,
        histograms={width: histogram_chart(values, real, hues, "mean LaRE by source", width) for width in (5, 13)},
        real=real,
        families=[[gallery.picture(k) for k in family] for family in gallery.families],
        samples=[gallery.picture(k) for k in gallery.samples],
        color_bar=png_uri(color_bar()),
        color_top=gallery.top,
        about=about,
    )
    out.write_text(page)
