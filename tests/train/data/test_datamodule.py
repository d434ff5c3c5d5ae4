import json
import logging
import pickle
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from cache_schema import (
    Cache,
    Dataset,
    DatasetError,
    FingerprintMismatch,
    ShardCorrupt,
    ShardData,
    ShardMissing,
    ShardStale,
    Status,
    write_dataset,
)
from tests.bad_images import encode, noise
from tests.samples import make_sample
from tests.train.packed import CROP_PX, FIELDS, cell_means, extract, module, pack, rows_of
from train.data.datamodule import LareDataModule
from train.data.join import Join

NUM_TRAIN, NUM_VALIDATION, NUM_TEST, NUM_CONTROLS = 20, 5, 6, 2
TEST_ROWS = list(range(25, 33))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return pack(tmp_path_factory.mktemp("packed") / "data")


@pytest.fixture(scope="module")
def cache(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return extract(dataset, tmp_path_factory.mktemp("cache") / "t200")


def on_rank(data: LareDataModule, rank: int, ranks: int, device: str = "cpu") -> LareDataModule:
    strategy = SimpleNamespace(root_device=torch.device(device))
    data.trainer = SimpleNamespace(global_rank=rank, world_size=ranks, strategy=strategy)  # type: ignore[assignment]
    return data


def epoch_rows(data: LareDataModule, epoch: int = 0) -> list[list[int]]:
    loader = data.train_dataloader()
    loader.set_epoch(epoch)
    return rows_of(loader)


# What is in a batch


def test_batch_has_the_contract_s_shapes_and_types(dataset: Dataset, cache: Cache) -> None:
    data = module(dataset, cache)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert {name: (tuple(value.shape), value.dtype) for name, value in batch.items()} == {
        "image": ((3, 3, CROP_PX, CROP_PX), torch.uint8),
        "lare": ((3, 3, 6, 6), torch.float32),
        "label": ((3,), torch.int64),
        "row": ((3,), torch.int64),
    }
    assert (batch["label"] == batch["row"] % 2).all()
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_map_follows_its_image(dataset: Dataset, cache: Cache, split: str) -> None:
    data = module(dataset, cache, num_workers=0)
    loaders = {"train": data.train_dataloader, "validation": data.val_dataloader, "test": data.test_dataloader}
    for batch in loaders[split]():
        for image, lare in zip(batch["image"], batch["lare"], strict=True):
            np.testing.assert_array_equal(cell_means(image.numpy()), lare.numpy())


def test_training_crops_move_with_the_epoch_and_evaluation_crops_do_not(dataset: Dataset, cache: Cache) -> None:
    def images(loader: Any) -> dict[int, Tensor]:
        return {
            row: image for batch in loader for row, image in zip(batch["row"].tolist(), batch["image"], strict=True)
        }

    data = module(dataset, cache, batch_size=1)
    loader = data.train_dataloader()
    first = images(loader)
    loader.set_epoch(1)
    second = images(loader)
    assert sum(not torch.equal(first[row], second[row]) for row in first) > NUM_TRAIN / 2
    assert all(
        torch.equal(a, b)
        for a, b in zip(images(data.val_dataloader()).values(), images(data.val_dataloader()).values(), strict=True)
    )


def test_variants_are_stacked_along_channels(dataset: Dataset, cache: Cache, tmp_path: Path) -> None:
    def negate(_: int, shard: ShardData) -> ShardData:
        return replace(shard, lare=-shard.lare)

    data = module(dataset, cache, extract(dataset, tmp_path / "t300", negate, timestep=300))
    assert data.map_channels == 6
    lare = next(iter(data.test_dataloader()))["lare"]
    torch.testing.assert_close(lare[:, :3], -lare[:, 3:])


def test_a_finer_variant_is_averaged_over_the_cells_of_the_coarsest(
    dataset: Dataset, cache: Cache, tmp_path: Path
) -> None:
    def refine(_: int, shard: ShardData) -> ShardData:
        finer = shard.lare.repeat(2, axis=2).repeat(2, axis=3)
        finer[:, :, ::2, ::2] *= 2
        return replace(shard, lare=finer)

    data = module(dataset, cache, extract(dataset, tmp_path / "t300", refine, timestep=300))
    lare = next(iter(data.test_dataloader()))["lare"]
    assert data.map_channels == 6
    torch.testing.assert_close(lare[:, 3:], lare[:, :3] * 1.25, rtol=1e-3, atol=1e-6)


def test_single_modes_leave_out_their_input_and_keep_the_samples(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = extract(dataset, tmp_path / "cache", reject_row_2)
    both, image_only, map_only = (module(dataset, cache, **s) for s in ({}, {"maps": False}, {"images": False}))
    expected = epoch_rows(both)
    assert epoch_rows(image_only) == epoch_rows(map_only) == expected
    assert "lare" not in next(iter(image_only.test_dataloader()))
    monkeypatch.setattr("train.data.joined_tar.decode_pixels", None)
    assert "image" not in next(iter(map_only.test_dataloader()))


def test_settings_that_make_no_sense_are_refused(dataset: Dataset, cache: Cache) -> None:
    for settings, message in (
        ({"batch_size": 0}, "batch_size is 0: expected 1 or more"),
        ({"view": "native"}, "alignment is None: view native needs 'whole' .* or 'crop'"),
        ({"alignment": "crop"}, "alignment is 'crop': view canvas is always aligned"),
        ({"on_mismatch": "ignore"}, "on_mismatch is 'ignore': expected one of"),
        ({"predict_split": "val"}, "predict_split is 'val': expected one of"),
        ({"maps": False, "images": False}, "maps and images are both off"),
        ({"maps": False, "permute_maps": True}, "permute_maps needs maps"),
        ({"maps": False, "constant_map": True}, "constant_map needs maps"),
        ({"permute_maps": True, "constant_map": True}, "both on"),
    ):
        with pytest.raises(ValueError, match=message):
            module(dataset, cache, **settings)
    with pytest.raises(
        ValueError, match="crop_px is 224: expected a multiple of the latent stride, 2 px, of at most 16"
    ):
        module(dataset, cache, crop_px=224).setup("fit")
    with pytest.raises(ValueError, match=r"20 training samples are too few for one step of 1 rank.* batch size 48"):
        module(dataset, cache, batch_size=48).train_dataloader()


# Which samples are in an epoch


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_training_takes_every_sample_at_most_once(dataset: Dataset, cache: Cache, ranks: int) -> None:
    modules = [on_rank(module(dataset, cache), rank, ranks) for rank in range(ranks)]
    rows = [row for data in modules for batch in epoch_rows(data) for row in batch]
    assert len(rows) == len(set(rows)) <= NUM_TRAIN
    assert modules[0].num_dropped == NUM_TRAIN - len(rows) < ranks * 3
    assert set(rows) <= set(range(NUM_TRAIN))


def test_training_drops_other_samples_in_other_epochs(dataset: Dataset, cache: Cache, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    data = module(dataset, cache)
    dropped = {frozenset(range(NUM_TRAIN)) - {r for b in epoch_rows(data, e) for r in b} for e in range(8)}
    assert len(dropped) > 4 and {len(d) for d in dropped} == {2}
    assert "2 of 20 training samples sit out each epoch" in caplog.text


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_evaluation_takes_every_sample_exactly_once(dataset: Dataset, cache: Cache, ranks: int) -> None:
    modules = [on_rank(module(dataset, cache, batch_size=2), rank, ranks) for rank in range(ranks)]
    assert sorted(r for m in modules for b in rows_of(m.test_dataloader()) for r in b) == TEST_ROWS
    assert sorted(r for m in modules for b in rows_of(m.val_dataloader()) for r in b) == list(range(20, 25))


def test_controls_are_scored_and_never_trained_on(dataset: Dataset, cache: Cache) -> None:
    data = module(dataset, cache)
    labels = {
        row: label
        for b in data.predict_dataloader()
        for row, label in zip(b["row"].tolist(), b["label"].tolist(), strict=True)
    }
    assert [row for row, label in labels.items() if label == -1] == [31, 32]
    assert len(rows_of(module(dataset, cache, controls=False, batch_size=6).test_dataloader())[0]) == NUM_TEST
    assert data.class_counts == (10, 10)
    with pytest.raises(ValueError, match="too few"):
        labelled = pack(dataset.folder.parent / "controls-only", train=0, validation=0, test=0, controls=2)
        module(labelled, extract(labelled, dataset.folder.parent / "c"), batch_size=1).train_dataloader()


def test_image_sources_keep_the_reals_of_their_subsets(tmp_path: Path) -> None:
    # Three subsets with reals of their own, as GenImage has eight; two sources in one of them.
    subsets = {"sdv4": "sd", "sdv5": "sd", "biggan": "biggan", "adm": "adm"}
    samples = []
    for i, split in enumerate(["train"] * 24 + ["validation"] * 8 + ["test"] * 8):
        source = [*subsets][i % 4]
        is_real = i // 4 % 2
        folder = "real" if is_real else source
        fields = {"label": 1 - is_real, "image_source": folder, "subset": subsets[source], "split": split}
        samples.append(make_sample(i, **fields, source_path=f"{folder}/{i}.png"))
    dataset = write_dataset(tmp_path / "data", samples, {"made_by": "a test"}, max_rows=10)
    cache = extract(dataset, tmp_path / "cache")
    index = dataset.table(["image_source", "subset"]).to_pylist()

    def counts(batches: list[list[int]]) -> dict[tuple[str, str], int]:
        return dict(Counter((index[row]["image_source"], index[row]["subset"]) for batch in batches for row in batch))

    data = module(dataset, cache, image_sources=["sdv5"], batch_size=1)
    assert counts(epoch_rows(data)) == {("sdv5", "sd"): 3, ("real", "sd"): 6}
    assert counts(rows_of(data.val_dataloader())) == {("sdv5", "sd"): 1, ("real", "sd"): 2}
    assert data.class_counts == (6, 3)
    assert len(rows_of(data.test_dataloader())) == 8  # every source, whatever was trained on
    data = module(dataset, cache, image_sources=["sdv4", "adm"], batch_size=1)
    assert counts(epoch_rows(data)) == {("sdv4", "sd"): 3, ("real", "sd"): 6, ("adm", "adm"): 3, ("real", "adm"): 3}
    for names, message in (
        (["sdv6", "real"], r"names \['real', 'sdv6'\]: the generated .*'sdv4', 'sdv5'\]"),
        ([], "no"),
    ):
        with pytest.raises(ValueError, match=message):
            module(dataset, cache, image_sources=names).setup("fit")


def test_a_split_to_fit_on_with_one_class_is_refused_at_once(tmp_path: Path) -> None:
    splits = ["train"] * 8 + ["validation"] * 2 + ["test"] * 2
    samples = [make_sample(i, split=split) for i, split in enumerate(splits) if (split, i % 2) != ("validation", 1)]
    dataset = write_dataset(tmp_path / "data", samples, {"made_by": "a test"}, max_rows=10)
    cache = extract(dataset, tmp_path / "cache")
    for stage, sources, names in (("fit", None, ""), ("validate", ["toy"], " of toy")):
        with pytest.raises(ValueError, match=f"has no generated images{names} in validation, which needs both"):
            module(dataset, cache, image_sources=sources).setup(stage)
    data = module(dataset, cache, predict_split="validation")
    data.setup("predict")  # scoring takes what there is
    assert len(rows_of(data.predict_dataloader())) == 1


def test_predict_split_chooses_what_is_scored(dataset: Dataset, cache: Cache) -> None:
    data = module(dataset, cache, predict_split="validation")
    assert sorted(r for b in rows_of(data.predict_dataloader()) for r in b) == list(range(20, 25))
    train_only = pack(dataset.folder.parent / "train-only", validation=0, test=0, controls=0)
    data = module(train_only, extract(train_only, dataset.folder.parent / "train-only-cache"))
    assert data.val_dataloader() == []
    with pytest.raises(ValueError, match="no usable samples in the split 'test'"):
        data.test_dataloader()


def test_permuted_maps_are_another_sample_s(dataset: Dataset, cache: Cache) -> None:
    own, permuted = (
        {
            row: (batch["image"][i], batch["lare"][i])
            for batch in data.test_dataloader()
            for i, row in enumerate(batch["row"].tolist())
        }
        for data in (module(dataset, cache), module(dataset, cache, permute_maps=True))
    )
    assert list(own) == list(permuted) == TEST_ROWS
    assert all(torch.equal(own[row][0], permuted[row][0]) for row in own)
    donors = [next(d for d in own if torch.equal(own[d][1], permuted[row][1])) for row in own]
    assert sorted(donors) == TEST_ROWS
    assert all(donor != row for donor, row in zip(donors, own, strict=True))


# Workers and the cursor


def assert_same_batches(batches: list[dict[str, Tensor]], others: list[dict[str, Tensor]]) -> None:
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert all(torch.equal(batch[name], other[name]) for name in ("image", "lare", "label", "row"))


@pytest.mark.parametrize(
    ("device", "ranks", "given", "expected"),
    [
        ("cuda", 2, None, "forkserver"),
        ("cuda", 1, None, None),
        ("cpu", 2, None, None),
        ("cuda", 2, "spawn", "spawn"),
    ],
)
def test_workers_of_several_gpus_are_not_forked_from_a_process_with_their_communication(
    device: str, ranks: int, given: str | None, expected: str | None, dataset: Dataset, cache: Cache
) -> None:
    data = on_rank(module(dataset, cache, num_workers=1, start_method=given), 0, ranks, device)
    assert data.train_dataloader()._start_method == data.val_dataloader()._start_method == expected


@pytest.mark.parametrize(
    "start_method", ["fork", *(pytest.param(name, marks=pytest.mark.slow) for name in ("spawn", "forkserver"))]
)
def test_batches_do_not_depend_on_workers(dataset: Dataset, cache: Cache, start_method: str) -> None:
    alone = module(dataset, cache)
    helped = module(dataset, cache, num_workers=2, start_method=start_method)
    mine, theirs = alone.train_dataloader(), helped.train_dataloader()
    for epoch in (0, 1):  # the second one by workers that have seen the first
        mine.set_epoch(epoch)
        theirs.set_epoch(epoch)
        helpers = list(theirs)
        assert_same_batches(list(mine), helpers)
        assert all(batch["image"].is_contiguous(memory_format=torch.channels_last) for batch in helpers)
    assert_same_batches(list(alone.test_dataloader()), list(helped.test_dataloader()))
    helped.teardown("fit")


def test_loading_leaves_the_model_s_random_stream_alone(dataset: Dataset, cache: Cache) -> None:
    before = torch.get_rng_state()
    list(module(dataset, cache).train_dataloader())
    assert torch.equal(before, torch.get_rng_state())


def test_reader_travels_without_its_open_tars(dataset: Dataset, cache: Cache) -> None:
    data = module(dataset, cache)
    reader = data.train_dataloader().reader
    batch = reader[0, np.arange(4)]
    assert reader._opened
    copy = pickle.loads(pickle.dumps(reader))
    assert not copy._opened
    assert torch.equal(copy[0, np.arange(4)]["lare"], batch["lare"])


def test_a_pass_has_nothing_left_to_do_after_its_last_batch(
    dataset: Dataset, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning takes so many batches as there are and forgets the iterator: what is done then loses a Ctrl-C."""
    loader = module(dataset, cache).train_dataloader()
    ended: list[bool] = []

    @contextmanager
    def copy_ahead(order: Any) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(reach=lambda step: None)
        ended.append(True)

    monkeypatch.setattr(loader.reader, "copy_ahead", copy_ahead)
    batches = iter(loader)
    for _ in range(len(loader) - 1):
        next(batches)
    assert not ended
    next(batches)
    assert ended
    assert next(batches, None) is None


def test_reader_holds_the_maps_of_one_block(dataset: Dataset, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(dataset, cache)
    loader = data.train_dataloader()
    opened: list[int] = []
    load_tar = type(data.join).load_tar
    monkeypatch.setattr(type(data.join), "load_tar", lambda self, n, **k: (opened.append(n), load_tar(self, n, **k))[1])
    for _ in loader:
        assert len(loader.reader._opened) <= 2
    assert sorted(opened) == [0, 1, 2, 3]  # each tar once, though batches straddle blocks


def test_each_worker_reads_a_store_once_an_epoch(
    dataset: Dataset, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/SCALE.md says. Two workers build every second batch each."""
    data = module(dataset, cache)
    loader = data.train_dataloader()
    read: list[str] = []
    whole = Cache.read
    monkeypatch.setattr(Cache, "read", lambda self, name, **k: (read.append(name), whole(self, name, **k))[1])
    for worker in (0, 1):
        reader = pickle.loads(pickle.dumps(loader.reader))
        for batch in list(loader._order)[worker::2]:
            reader[batch]
    assert 4 < len(read) <= 8 and {read.count(name) for name in read} <= {1, 2}


@pytest.mark.parametrize("step", range(7))
def test_resume_after_any_step_goes_on_with_the_next_batch(dataset: Dataset, cache: Cache, step: int) -> None:
    expected = module(dataset, cache).train_dataloader()
    expected.set_epoch(3)
    batches = list(expected)

    stopped = module(dataset, cache)
    loader = stopped.train_dataloader()
    loader.set_epoch(3)
    iterator = iter(loader)
    taken = [next(iterator) for _ in range(step)]
    state = stopped.state_dict()
    if step < 6:
        assert (state["epoch"], state["step"]) == (3, step)

    resumed = module(dataset, cache, num_workers=2 if step == 2 else 0)
    resumed.load_state_dict(pickle.loads(pickle.dumps(state)))
    loader = resumed.train_dataloader()
    iterator = iter(loader)  # Lightning's order of calls
    loader.set_epoch(3)
    rest = list(iterator) if step < 6 else []
    assert_same_batches(taken + rest, batches)
    loader.set_epoch(4)
    expected.set_epoch(4)
    assert_same_batches(list(loader), list(expected))
    resumed.teardown("fit")


def test_prefetching_workers_do_not_move_the_cursor(dataset: Dataset, cache: Cache) -> None:
    data = module(dataset, cache, num_workers=2)
    iterator = iter(data.train_dataloader())
    next(iterator)
    assert data.state_dict()["step"] == 1
    data.teardown("fit")
    assert data.state_dict()["step"] == 1


def test_resume_in_another_plan_is_refused(dataset: Dataset, cache: Cache, tmp_path: Path) -> None:
    data = module(dataset, cache)
    next(iter(data.train_dataloader()))
    state = data.state_dict()
    for other, message in (
        (on_rank(module(dataset, cache), 0, 2), "ranks: 1 → 2"),
        (module(dataset, cache, batch_size=2), "batch_size: 3 → 2"),
        (module(dataset, cache, seed=1), "seed: 0 → 1"),
        (module(dataset, extract(dataset, tmp_path / "cache", reject_row_2)), "samples: "),
    ):
        other.load_state_dict(state)
        with pytest.raises(ValueError, match=rf"saved within another plan \({message}.*Resume with the settings"):
            other.train_dataloader()
    older = {name: value for name, value in state.items() if name != "plan"}
    resumed = module(dataset, cache)
    resumed.load_state_dict(older)
    with pytest.raises(ValueError, match=r"another plan \(plan: None → 3\).*the version it was saved with"):
        resumed.train_dataloader()
    tested = on_rank(module(dataset, cache), 0, 2)
    tested.load_state_dict(state)  # a checkpoint may be tested on any number of ranks
    tested.test_dataloader()
    tested.teardown("test")
    assert len(tested.train_dataloader()) == 3


class Recorder(LightningModule):
    """Takes down the rows of every training step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        self.seen.append((self.current_epoch, batch["row"].tolist()))
        return self.weight * batch["lare"].mean()

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: LareDataModule, folder: Path, resume: Path | None = None, **settings: Any) -> Recorder:
    model = Recorder()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    callback = ModelCheckpoint(folder, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    trainer = Trainer(max_epochs=2, callbacks=[callback], num_sanity_val_steps=0, **quiet, **settings)
    trainer.fit(model, datamodule=data, ckpt_path=resume)
    return model


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:The '.*' does not have many workers")
@pytest.mark.parametrize("settings", [{}, {"val_check_interval": 2}])
def test_lightning_resumes_from_any_checkpoint(
    dataset: Dataset, cache: Cache, tmp_path: Path, settings: dict[str, Any]
) -> None:
    whole = fit(module(dataset, cache), tmp_path, **settings).seen
    assert [epoch for epoch, _ in whole] == [0] * 6 + [1] * 6
    assert whole[:6] != [(0, rows) for _, rows in whole[6:]]
    for step in range(1, 12):
        seen = fit(module(dataset, cache), tmp_path, tmp_path / f"step={step}.ckpt", **settings).seen
        assert seen == whole[step:], step


class RankRecorder(Recorder):
    """Writes the rows that one rank has seen to a file of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.validated: list[int] = []

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        self.validated += batch["row"].tolist()

    def on_fit_end(self) -> None:
        rows = [row for _, rows in self.seen for row in rows]
        (self.folder / f"{self.global_rank}.json").write_text(json.dumps([rows, self.validated]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")
def test_lightning_ranks_share_an_epoch(dataset: Dataset, cache: Cache, tmp_path: Path) -> None:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = Trainer(max_epochs=1, accelerator="cpu", devices=2, strategy="ddp_spawn", num_sanity_val_steps=0, **quiet)
    trainer.fit(RankRecorder(tmp_path), datamodule=module(dataset, cache))
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    trained = [row for rows, _ in ranks for row in rows]
    assert len(trained) == len(set(trained)) == 18
    assert sorted(row for _, rows in ranks for row in rows) == list(range(20, 25))


# Joining tars and stores


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_changed_bit_of_an_image_stops_training(tmp_path: Path, num_workers: int) -> None:
    samples = [make_sample(i, image=encode(noise().resize((16, 16)), "BMP"), format="BMP") for i in range(6)]
    dataset = write_dataset(tmp_path / "data", samples, {})
    data = module(dataset, extract(dataset, tmp_path / "cache"), num_workers=num_workers)
    list(data.train_dataloader())
    row, tar = dataset.table().to_pylist()[4], dataset.tar_path(0)
    content = bytearray(tar.read_bytes())
    content[row["offset"] + row["size"] - 1] ^= 1  # a pixel of another colour: no decoder would notice
    tar.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{tar} has changed .* bytes of {row['key']} hash to .*make verify"):
        list(data.train_dataloader())
    data.teardown("fit")


def reject_row_2(n: int, shard: ShardData) -> ShardData:
    if n != 0:
        return shard
    shard.status[2], shard.lare[2] = Status.UNREADABLE, np.nan
    return replace(shard, attributes={**shard.attributes, "reasons": {"2": "empty file"}})


def reverse_rows(n: int, shard: ShardData) -> ShardData:
    return replace(shard, keys=shard.keys[::-1]) if n == 1 else shard


def leave_out_tar_2(n: int, shard: ShardData) -> ShardData | None:
    return None if n == 2 else shard


def age_rows(n: int, shard: ShardData) -> ShardData:
    return replace(shard, attributes={**shard.attributes, "rows_sha256": "0" * 64}) if n == 1 else shard


def test_rejected_rows_are_dropped_and_counted(dataset: Dataset, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    data = module(dataset, extract(dataset, tmp_path / "cache", reject_row_2), batch_size=1)
    data.setup("fit")
    assert sorted(r for b in epoch_rows(data) for r in b) == [r for r in range(NUM_TRAIN) if r != 2]
    assert data.num_rejected == {"train": 1, "validation": 0}
    assert data.class_counts == (9, 10)
    assert "train: 19 samples, 1 left out as rejected at extraction" in caplog.text


def test_rejected_rows_are_known_without_reading_the_maps(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With thousands of tars, each with a bad image, every rank would read the whole cache before its first step."""
    join = Join.open(dataset.folder, [extract(dataset, tmp_path / "cache", reject_row_2).folder])
    expected = join.load_usable(0, thorough=True)
    assert np.flatnonzero(~expected).tolist() == [2]
    monkeypatch.delattr(Cache, "read")
    assert (join.load_usable(0, thorough=False) == expected).all()


def test_rows_that_are_rejected_without_a_reason_are_found_in_the_store(dataset: Dataset, tmp_path: Path) -> None:
    def forget(n: int, shard: ShardData) -> ShardData:
        return replace(reject_row_2(n, shard), attributes=shard.attributes)

    join = Join.open(dataset.folder, [extract(dataset, tmp_path / "cache", forget).folder])
    assert np.flatnonzero(~join.load_usable(0, thorough=False)).tolist() == [2]


def test_row_rejected_in_one_variant_is_dropped_in_all(dataset: Dataset, cache: Cache, tmp_path: Path) -> None:
    data = module(dataset, cache, extract(dataset, tmp_path / "t300", reject_row_2, timestep=300))
    assert data.class_counts == (9, 10)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (leave_out_tar_2, ShardMissing, r"no store for 1 of the .* first is train-000002.tar.*make extract .* SHARD=2"),
        (age_rows, ShardStale, "train-000001.tar has changed since its features were made.*make extract.*SHARD=1"),
        (reverse_rows, ShardStale, r"train-000001.tar, row 0: the store has .*, the index"),
    ],
)
def test_mismatch_is_an_error_or_skipped(
    dataset: Dataset, tmp_path: Path, change: Any, error: type[Exception], message: str, caplog: Any
) -> None:
    cache = extract(dataset, tmp_path / "cache", change)
    data = module(dataset, cache)
    with pytest.raises(error, match=message):
        list(data.train_dataloader())
    data = module(dataset, cache, on_mismatch="skip", batch_size=1)
    rows = [r for b in epoch_rows(data) for r in b]
    assert len(rows) == len(set(rows)) == NUM_TRAIN - 6
    (tar,) = data.skipped_tars
    assert "train: 6 samples of 1 tars left out" in caplog.text and tar in caplog.text
    assert sorted(r for b in rows_of(data.test_dataloader()) for r in b) == TEST_ROWS


def test_nan_in_an_ok_row_is_an_error(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(n: int, shard: ShardData) -> ShardData:
        if n == 0:
            shard.lare[1, 0, 0, 0] = np.nan
        return shard

    with monkeypatch.context() as patch:
        patch.setattr(ShardData, "check", lambda self: None)  # our own writer refuses
        cache = extract(dataset, tmp_path / "cache", spoil)
    with pytest.raises(ShardCorrupt, match=r"row 1 .* is marked ok, but its map is not finite"):
        list(module(dataset, cache).train_dataloader())


def test_error_in_a_worker_reaches_the_caller(dataset: Dataset, tmp_path: Path) -> None:
    data = module(dataset, extract(dataset, tmp_path / "cache", reverse_rows), num_workers=1)
    with pytest.raises(ShardStale, match=r"train-000001.tar, row 0"):
        list(data.train_dataloader())
    data.teardown("fit")


def test_cache_of_another_dataset_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    other = pack(tmp_path / "other", train=8)
    with pytest.raises(DatasetError, match="belongs to dataset"):
        module(dataset, extract(other, tmp_path / "cache")).setup("fit")


def test_variants_over_other_canvases_are_refused(dataset: Dataset, cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(FingerprintMismatch, match=r"image_size is 32, .* has 16"):
        module(dataset, cache, extract(dataset, tmp_path / "32px", image_size=32)).setup("fit")
    with pytest.raises(FingerprintMismatch, match="filter is lanczos, this code makes the canvas with bicubic"):
        module(dataset, extract(dataset, tmp_path / "lanczos", filter="lanczos")).setup("fit")


def test_cache_without_stores_names_the_next_step(dataset: Dataset, tmp_path: Path) -> None:
    empty = extract(dataset, tmp_path / "cache", lambda *_: None)
    with pytest.raises(ShardMissing, match=r"has no stores\. Extract first: make extract .*SHARD=all"):
        module(dataset, empty).setup("fit")


def test_module_says_what_it_reads(dataset: Dataset, cache: Cache) -> None:
    data = LareDataModule(str(dataset.folder), str(cache.folder))
    assert data.map_channels == 3
    assert data.fields == FIELDS
    assert data.fingerprints == [cache.fingerprint]
    assert data.dataset_id == dataset.dataset_id
