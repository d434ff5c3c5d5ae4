from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cache_schema import (
    Cache,
    Dataset,
    DatasetError,
    Fingerprint,
    ShardData,
    Status,
    create_cache,
    store_name,
    write_dataset,
)
from experiments.answers.maps import Maps, choose_images, draw_png, draw_svgs, load_maps, order_sources, plot_block
from tests.samples import make_sample, make_shard

FIELDS = {"image_size": 32, "stored_dtype": "float32"}
SOURCES = ["real", "vae-roundtrip-a", "toy-a-img2img", "toy-a"]
"""In the order of the rows."""
REJECTED = "vae-roundtrip-a/0%2Epng"


def make_dataset(folder: Path) -> Dataset:
    """Three test photographs of a scene each, round trips and img2img images of them, class samples, two controls."""
    kinds = {"real": None, "vae-roundtrip-a": 0, "toy-a-img2img": 1, "toy-a": 1, "real-other-domain": None}
    samples = []
    for i, (source, label) in enumerate(kinds.items()):
        is_copy = source in ("vae-roundtrip-a", "toy-a-img2img")
        for j in range(3):
            samples.append(
                make_sample(
                    10 * i + j,
                    **{"image_source": source, "source_path": f"{source}/{j}.png", "label": label, "split": "test"},
                    **{"group": f"scene-{j}", "derived_from": f"real/{j}%2Epng" if is_copy else None},
                )
            )
    keys = {sample.key for sample in samples}
    assert all(sample.fields.derived_from in {None, *keys} for sample in samples)
    return write_dataset(folder, samples, {"made_by": "a test"}, max_rows=8)


def make_cache(folder: Path, dataset: Dataset, seed: int, scale: float, rejected: str | None = None) -> Cache:
    cache = create_cache(folder, dataset.dataset_id, Fingerprint({**FIELDS, "noise_seed": seed}))
    for n, entry in enumerate(dataset.tars):
        shard = make_shard(dataset.rows(n), entry, seed=seed)
        lare, status, attributes = scale * shard.lare, shard.status, shard.attributes
        if rejected in shard.keys:
            row = shard.keys.index(rejected)
            lare[row], status[row], attributes["reasons"] = np.nan, Status.UNREADABLE, {str(row): "damaged"}
        cache.write(store_name(entry.name), ShardData(shard.keys, lare, status, shard.image_sha256, attributes))
    return cache


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset and two caches of it; in the second all values are ten times as high and a round trip is rejected."""
    root = tmp_path_factory.mktemp("maps")
    dataset = make_dataset(root / "data")
    make_cache(root / "t50-e4", dataset, seed=0, scale=1.0)
    make_cache(root / "t500-e4", dataset, seed=1, scale=10.0, rejected=REJECTED)
    return {name: root / name for name in ("data", "t50-e4", "t500-e4")}


@pytest.fixture(scope="module")
def maps(folders: dict[str, Path]) -> Maps:
    return load_maps(folders["data"], [folders["t50-e4"], folders["t500-e4"]])


def test_blocks_are_photographs_with_what_was_made_of_them(maps: Maps) -> None:
    assert maps.sources == SOURCES
    for block in maps.blocks:
        assert set(block) == set(SOURCES)
        assert len({block[source].split("/")[1] for source in SOURCES[:3]}) == 1
    assert len({block["real"] for block in maps.blocks}) == len({block["toy-a"] for block in maps.blocks}) == 2


def test_maps_are_means_over_channels_of_the_same_images_in_every_cache(folders: dict[str, Path], maps: Maps) -> None:
    dataset = Dataset.open(folders["data"])
    expected = {}
    for n, entry in enumerate(dataset.tars):
        shard = make_shard(dataset.rows(n), entry, seed=0)
        expected |= dict(zip(shard.keys, shard.lare.mean(axis=1), strict=True))
    shown = {key for block in maps.blocks for key in block.values()}
    assert maps.maps["t50-e4"].keys() == shown == maps.images.keys()
    for key, values in maps.maps["t50-e4"].items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-6)
    assert shown - maps.maps["t500-e4"].keys() == {REJECTED}
    assert all(image.shape == (32, 32, 3) for image in maps.images.values())


def plot(maps: Maps, block: dict[str, str]) -> dict[tuple[int, int], Axes]:
    """(row, column) → panel, of the panels that are not empty."""
    figure = Figure()
    plot_block(figure, maps, block)
    panels = [axes for axes in figure.axes if axes.images]
    places = [axes.get_subplotspec() for axes in panels]
    return {(p.rowspan.start, p.colspan.start): axes for p, axes in zip(places, panels, strict=True)}


def test_each_cache_has_one_scale_of_its_own(maps: Maps) -> None:
    assert list(maps.tops) == ["t50-e4", "t500-e4"]
    assert maps.tops["t500-e4"] == pytest.approx(10 * maps.tops["t50-e4"], rel=0.3)
    scales = [
        {
            axes.images[0].get_clim()
            for block in maps.blocks
            for (_, i), axes in plot(maps, block).items()
            if i == column
        }
        for column in (1, 2)
    ]
    assert scales == [{(0, maps.tops["t50-e4"])}, {(0, maps.tops["t500-e4"])}]


def test_a_rejected_image_leaves_its_place_empty(maps: Maps) -> None:
    row = SOURCES.index("vae-roundtrip-a")
    assert [block["vae-roundtrip-a"] == REJECTED for block in maps.blocks] == [True, False]
    first, second = (plot(maps, block) for block in maps.blocks)
    assert set(second) - set(first) == {(row, 2)} and len(second) == 3 * len(SOURCES)


def test_pictures_name_sources_and_caches(maps: Maps, tmp_path: Path) -> None:
    svgs = draw_svgs(maps)
    assert len(svgs) == 2
    for svg, block in zip(svgs, maps.blocks, strict=True):
        for name in (*SOURCES, "t50-e4", "t500-e4", f"{maps.maps['t50-e4'][block['real']].mean():.3f}"):
            assert f">{name}</text>" in svg
    draw_png(maps, tmp_path / "maps.png")
    with Image.open(tmp_path / "maps.png") as image:
        assert image.width > image.height


def test_sources_without_photographs_to_be_made_of_are_shown_too() -> None:
    rows = {
        f"{s}/{i}": {"image_source": s, "label": int(s != "real"), "derived_from": None}
        for s in ("real", "adm")
        for i in range(4)
    }
    blocks = choose_images(rows, [], sorted(rows), 2)
    assert blocks == [{"adm": "adm/0", "real": "real/0"}, {"adm": "adm/2", "real": "real/2"}]
    assert order_sources(rows, blocks) == ["real", "adm"]


def test_caches_that_do_not_fit_are_refused(folders: dict[str, Path], dataset: Dataset, tmp_path: Path) -> None:
    make_cache(tmp_path / "other", dataset, seed=0, scale=1.0)
    with pytest.raises(DatasetError, match="belongs to dataset"):
        load_maps(folders["data"], [folders["t50-e4"], tmp_path / "other"])
    with pytest.raises(ValueError, match=r"t50-e4, .*t50-e4 share one"):
        load_maps(folders["data"], [folders["t50-e4"], folders["t50-e4"]])
    create_cache(tmp_path / "empty", Dataset.open(folders["data"]).dataset_id, Fingerprint(FIELDS))
    with pytest.raises(ValueError, match="empty: no maps of the test images"):
        load_maps(folders["data"], [folders["t50-e4"], tmp_path / "empty"])
