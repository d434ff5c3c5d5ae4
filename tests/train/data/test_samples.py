"""Samples as bits, and the cells that they are chosen by: the same as going through the whole index row by row."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cache_schema import Dataset, DatasetError, write_dataset
from cache_schema.index import SCANNED_TARS
from tests.samples import make_sample
from tests.train.packed import extract, pack
from train.data.cells import Cell, Cells
from train.data.join import Join
from train.data.samples import NO_LABEL, Samples, load_image_sizes, scan_samples, select_samples

SIZES = np.array([5, 0, 8, 1, 16, 7, 3, 0, 11, 0])


def make(seed: int, share: float) -> tuple[Samples, np.ndarray, np.ndarray]:
    rng, num = np.random.default_rng(seed), int(SIZES.sum())
    chosen, labels = rng.random(num) < share, rng.integers(-1, 2, num)
    bits = (np.packbits(each) for each in (chosen, labels == 1, labels == NO_LABEL))
    return Samples(SIZES, *bits, num_rejected=0, skipped_tars={}), chosen, labels


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_bits_say_what_arrays_would(share: float) -> None:
    for seed in range(5):
        samples, chosen, labels = make(seed, share)
        rows, tar_of_row = np.flatnonzero(chosen), np.repeat(np.arange(len(SIZES)), SIZES)
        first = np.cumsum(SIZES) - SIZES
        assert len(samples) == len(rows)
        np.testing.assert_array_equal(samples.rows, rows)
        np.testing.assert_array_equal(samples.tars, tar_of_row[rows])
        np.testing.assert_array_equal(samples.tar_rows, rows - first[tar_of_row[rows]])
        np.testing.assert_array_equal(samples.labels, labels[rows])
        np.testing.assert_array_equal(samples.counts, np.bincount(tar_of_row[rows], minlength=len(SIZES)))
        assert samples.class_counts == ((labels[rows] == 0).sum(), (labels[rows] == 1).sum())
        for n in range(len(SIZES)):
            np.testing.assert_array_equal(samples.of_tar(n), np.flatnonzero(chosen[first[n] : first[n] + SIZES[n]]))
        positions = np.random.default_rng(seed).permutation(len(rows))
        np.testing.assert_array_equal(samples.rows_of(positions), rows[positions])
        np.testing.assert_array_equal(samples.tars_of(positions), tar_of_row[rows[positions]])
        np.testing.assert_array_equal(samples.places_of(positions)[1], samples.tar_rows[positions])


def test_a_worker_is_sent_bits_alone() -> None:
    """Whatever was asked before: arrays of a hundred million samples would be gigabytes."""
    num_rows = np.full(1000, 4096)
    bits = np.zeros(1000 * 512, np.uint8)
    samples = Samples(num_rows, ~bits, bits, bits, num_rejected=0, skipped_tars={})
    assert len(samples) == 1000 * 4096 and samples.counts.sum() == len(samples.rows)
    sent = pickle.dumps(samples)
    assert len(sent) < 0.4 * len(samples) and len(pickle.loads(sent)) == len(samples)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three sources in subsets of their own with reals of their own, and controls, in tars of five rows."""
    samples = []
    for i in range(48):
        source = ("adm", "glide", "sdv5")[i % 3]
        label = None if i % 8 == 7 else int(i % 2)
        fields = {"label": label, "subset": source, "split": ("train", "validation", "test", "train")[i // 2 % 4]}
        fields |= {"image_source": source if label == 1 else "blur" if label is None else "real", "group": f"g{i}"}
        samples.append(make_sample(i, size_px=16, source_path=f"{source}/{i}.png", **fields))
    return write_dataset(tmp_path_factory.mktemp("data") / "data", samples, {"made_by": "a test"}, max_rows=5)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("controls", [False, True])
@pytest.mark.parametrize("sources", [None, ["adm"], ["sdv5", "glide"]])
def test_samples_are_those_of_the_index(
    dataset: Dataset, tmp_path: Path, split: str, controls: bool, sources: list[str] | None
) -> None:
    join = Join.open(dataset.folder, [extract(dataset, tmp_path / "cache").folder])
    found = select_samples(join, split, controls=controls, image_sources=sources)
    expected = []
    for row, fields in enumerate(dataset.table().to_pylist()):
        label, subset = fields["label"], fields["subset"]
        of_sources = sources is None or (subset in sources and label is not None)
        if fields["split"] == split and of_sources and (controls or label is not None):
            expected.append((row, NO_LABEL if label is None else label))
    assert list(zip(found.rows.tolist(), found.labels.tolist(), strict=True)) == expected and expected


@pytest.mark.parametrize("scanned", [1, 3, 64])
def test_cells_do_not_depend_on_how_many_tars_are_read_at_once(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, scanned: int
) -> None:
    monkeypatch.setattr("cache_schema.index.SCANNED_TARS", scanned)
    names = ["split", "label", "image_source", "subset"]
    cells = Cells.read(dataset, with_sources=True)
    expected = [Cell(*(row[name] for name in names)) for row in dataset.table(names).to_pylist()]
    assert [cells.kinds[kind] for kind in cells.of_row.tolist()] == expected
    assert len(set(cells.kinds)) == len(cells.kinds)


def test_more_cells_than_a_byte_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [
        make_sample(i, size_px=2, label=1, image_source=f"model-{i}", source_path=f"m/{i}.png") for i in range(300)
    ]
    dataset = write_dataset(tmp_path / "data", samples, {"made_by": "a test"}, max_rows=100)
    cells = Cells.read(dataset, with_sources=True)
    monkeypatch.setattr("train.data.cells.MAX_PRODUCT", 1)
    other = Cells.read(dataset, with_sources=True)
    sources = dataset.table(["image_source"])["image_source"].to_pylist()
    for each in (cells, other):
        assert len(each.kinds) == 300 and each.of_row.dtype == np.uint16
        assert [each.kinds[kind].image_source for kind in each.of_row.tolist()] == sources


def test_an_index_is_gone_through_once_for_all_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.train.packed import module

    dataset = pack(tmp_path / "data")
    cache = extract(dataset, tmp_path / "cache")
    scans: list[tuple[str, ...]] = []
    scan = Dataset.scan
    monkeypatch.setattr(Dataset, "scan", lambda self, of, *how: scans.append(tuple(of)) or scan(self, of, *how))
    data = module(dataset, cache)
    data.setup("fit")
    data.setup("test")
    assert sorted(scans) == [("group", "split", "derived_from"), ("key",), ("split", "label")]


def test_a_sample_in_two_tars_is_refused(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    dataset = pack(tmp_path / "data")
    tables = [dataset.rows(n) for n in range(len(dataset.tars))]
    keys = tables[1]["key"].to_pylist()
    tables[1] = tables[1].set_column(0, tables[1].schema.field(0), pa.array([tables[0]["key"][0].as_py(), *keys[1:]]))
    with pq.ParquetWriter(dataset.index_path, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=len(table))
    with pytest.raises(DatasetError, match="stand in several rows"):
        Cells.read(Dataset.open(dataset.folder), with_sources=False)


def test_rows_of_another_tar_are_refused_before_training(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    dataset = pack(tmp_path / "data")
    tables = [dataset.rows(n) for n in range(len(dataset.tars))]
    assert len(tables[0]) == len(tables[1])
    with pq.ParquetWriter(dataset.index_path, tables[0].schema) as writer:
        for table in (tables[1], tables[0], *tables[2:]):
            writer.write_table(table, row_group_size=len(table))
    with pytest.raises(DatasetError, match="says that it belongs to"):
        Cells.read(Dataset.open(dataset.folder), with_sources=False)


def test_sizes_of_samples_are_those_of_their_rows_in_many_tars(tmp_path: Path) -> None:
    sides = [16 + 8 * (i % 5 == 0) + 4 * (i % 3 == 0) for i in range(90)]
    splits = ["train" if i % 3 else "test" for i in range(90)]
    samples = [
        make_sample(i, size_px=side, split=split) for i, (side, split) in enumerate(zip(sides, splits, strict=True))
    ]
    dataset = write_dataset(tmp_path / "data", samples, {}, max_rows=1)
    assert len(dataset.tars) == 90 > SCANNED_TARS
    chosen = np.array([split == "train" for split in dataset.table(["split"])["split"].to_pylist()])
    bits = np.packbits(chosen)
    of_train = Samples(np.ones(90, np.int64), bits, bits, np.zeros_like(bits), 0, {})
    assert load_image_sizes(dataset, of_train) == [(16, 16), (24, 24)]
    tables = pa.concat_tables(scan_samples(dataset, of_train, ["row", "width"]))
    assert tables.equals(dataset.table(["row", "width"]).take(of_train.rows))
