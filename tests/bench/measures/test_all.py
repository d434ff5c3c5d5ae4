"""Each measure at tiny sizes: that it runs, and what its figures are called. Sizes and counts are checked, no times."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.__main__ import main
from bench.config import BenchConfig
from bench.data import sd15
from bench.data.pictures import make_jpegs, make_picture
from bench.measures.extraction import Comparison, Setting, measure_sd15, measure_toy, measure_toy_cores
from bench.measures.feed import Feed, gamma_maps, measure_feed
from bench.measures.map_bytes import measure_map_bytes
from bench.measures.memory import measure_memory
from bench.measures.operations import count_parts, folder_shapes, measure_operations, sd15_shapes
from bench.measures.precision import assumed_time, list_formats, measure_precision
from bench.registry import MEASURES, select_measures
from bench.runner import Context, Figure
from extract.models import costs
from extract.models.costs import count_macs_by_part
from extract.models.folder import ModelFolder
from extract.models.schedule import load_noising
from extract.models.stable_diffusion import StableDiffusion
from tests.models import macs_of_run

TOY_MODEL = "demo/models/toy-a"


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    names = [figure.measure for figure in figures]
    assert len(set(names)) == len(names)
    return dict(zip(names, figures, strict=True))


def test_pictures_are_the_same_each_time_and_differ_from_each_other():
    assert np.array_equal(make_picture(1, 40, 30), make_picture(1, 40, 30))
    assert make_picture(1, 40, 30).shape == (30, 40, 3)
    assert not np.array_equal(make_picture(1, 40, 30), make_picture(2, 40, 30))


def test_jpegs_of_500_px_are_as_large_as_photographs():
    sizes = [len(data) for data in make_jpegs(8, 500)]
    assert Image.open(io.BytesIO(next(make_jpegs(1, 500)))).size == (500, 375)
    assert min(sizes) > 40_000
    assert max(sizes) < 90_000


def test_gamma_maps_have_the_mean_of_their_variance():
    maps = gamma_maps(200, (4, 32, 32), seed=0)
    assert (maps.shape, maps.dtype) == ((200, 4, 32, 32), np.float32)
    assert (maps > 0).all()
    assert maps.mean() == pytest.approx(np.exp(-3 + 0.5**2 / 2), rel=0.02)


def test_feed_goes_through_the_real_job_and_names_its_limits(context: Context):
    figures = by_name(measure_feed(context))
    limits = {"decode", "decode_resize", "noise", "rows", "write", "over_parts"}
    assert set(figures) == {"feed_rate", *(f"feed_rate.{limit}" for limit in limits)}
    assert figures["feed_rate"].target == "≥ 100"
    assert all(len(figure.runs) == 1 and figure.low > 0 for figure in figures.values())


def test_feed_writes_the_constant_maps(context: Context):
    feed = Feed(context, list(make_jpegs(5, 96)))
    feed.feed()
    lare = feed.cache.read(feed.cache.shards()[0]).lare
    assert (lare.shape, lare.dtype) == ((5, 4, 8, 8), np.float16)
    assert not np.array_equal(lare[0], lare[1])
    assert np.array_equal(lare[0], lare[2])  # the same in each batch of two


@pytest.mark.parametrize(
    ("name", "measure"), [("toy", measure_toy), ("toy_cores", measure_toy_cores), ("sd15", measure_sd15)]
)
def test_extraction_is_compared_with_authors_and_models(context: Context, name: str, measure: Any):
    figures = by_name(measure(context))
    assert set(figures) == {
        f"job_over_authors_{name}",
        f"job_over_authors_{name}.job",
        f"job_over_authors_{name}.authors",
        f"job_over_models_{name}",
        f"job_over_models_{name}.models",
        f"fraction_of_peak_{name}",
        f"fraction_of_peak_{name}.peak",
    }
    assert all(len(figure.runs) == 1 and figure.low > 0 for figure in figures.values())


def test_work_of_the_models_counts_padded_batches_whole(context: Context, tiny_model: Path):
    both = Comparison(context, Setting("toy", tiny_model, 64, 64, num_images=3, batch_size=2, is_one_core=False))
    parts = count_macs_by_part(both.diffusion.folder, 64)
    # Two tars of two and one image.
    assert both.model_flop == 2 * 4 * (parts["vae_encoder"] + 2 * parts["unet"])
    assert both.matmul_flop == 2 * 8 * 16**3


def test_operations_are_counted_before_the_clock_runs(context: Context, tiny_model: Path):
    costs._count_parts.cache_clear()
    both = Comparison(context, Setting("toy", tiny_model, 64, 64, num_images=2, batch_size=2, is_one_core=False))
    counted = costs._count_parts.cache_info().misses
    both.run_job()
    assert costs._count_parts.cache_info().misses == counted == 1


def test_precision_tells_error_and_cost_of_each_format_that_the_device_has(context: Context):
    figures = by_name(measure_precision(context))
    names = ("bf16", "fp16", "bf16/fp32")
    assert set(figures) == {f"precision.{name}{part}" for name in names for part in ("", ".worst", ".time")}
    assert all(0 < figures[f"precision.{n}"].value <= figures[f"precision.{n}.worst"].value < 0.5 for n in names)
    assert figures["precision.fp16"].value < figures["precision.bf16/fp32"].value < figures["precision.bf16"].value
    assert [name for name in list_formats("cuda") if "tf32" in name] == ["tf32", "tf32/fp32", "bf16/tf32", "fp16/tf32"]
    assert figures["precision.bf16.time"].value == 1
    vae, unets = 136.0, 4 * 90.05
    assert assumed_time("fp16/tf32") == pytest.approx((vae / 20 + unets / 40) / ((vae + unets) / 40), rel=1e-2)


def test_map_bytes_of_both_kinds_of_maps(context: Context):
    config = replace(context.config, toy_model=TOY_MODEL)
    figures = by_name(measure_map_bytes(replace(context, config=config)))
    for kind, runs in (("", 1), ("_toy", 1)):
        pt = figures[f"map_bytes_over_pt{kind}.pt"]
        assert pt.value >= 4 * 4 * 32 * 32
        for name in ("f16", "7bit"):
            figure, store = (figures[f"map_bytes_over_pt_{name}{kind}{part}"] for part in ("", ".store"))
            assert len(figure.runs) == runs
            assert figure.value == store.value / pt.value
        assert figures[f"map_bytes_over_pt_7bit{kind}"].value < figures[f"map_bytes_over_pt_f16{kind}"].value < 1


def test_operations_of_the_toy_model_are_those_that_extraction_counts():
    folder = ModelFolder.open(TOY_MODEL)
    diffusion = StableDiffusion(folder, load_noising(folder, [200]), "fp32", torch.device("cpu"))
    counted = {part: macs for part, (macs, _) in count_parts(folder_shapes("toy", Path(TOY_MODEL), 64)).items()}
    theirs = count_macs_by_part(folder, 64)
    assert counted["unet"] == theirs["unet"]
    assert counted["text_encoder"] == macs_of_run(lambda: diffusion.condition([""]))
    assert counted["vae_encoder"] == theirs["vae_encoder"]


def test_operations_of_stable_diffusion_15_are_the_known_ones():
    shapes = sd15_shapes(256)
    assert sum(p.numel() for p in shapes.unet.parameters()) == 859_520_964
    assert sum(p.numel() for p in shapes.vae.parameters()) == 83_653_863
    assert sum(p.numel() for p in shapes.text_encoder.parameters()) == 123_060_480
    parts = count_parts(shapes)
    assert parts["unet"][0] / 1e9 == pytest.approx(90.05, abs=0.01)
    assert parts["vae_encoder"][0] / 1e9 == pytest.approx(136.36, abs=0.01)
    quant_conv = 8 * 8 * 32 * 32  # lies beside the encoder
    for part, (macs, children) in parts.items():
        assert sum(children.values()) == macs - (quant_conv if part == "vae_encoder" else 0)


def test_operations_are_told_by_part(context: Context):
    config = replace(context.config, toy_model=TOY_MODEL, sd15_image_size=256)
    figures = by_name(measure_operations(replace(context, config=config)))
    parts = figures["operations_sd15.vae_encoder"].value + 2 * figures["operations_sd15.unet"].value
    assert figures["operations_sd15"].value == pytest.approx(parts)
    assert "operations_toy.unet.up_blocks" in figures


@pytest.mark.slow
def test_memory_of_child_processes(context: Context):
    figures = by_name(measure_memory(context))
    assert figures["memory_20_over_2"].target == "≤ 1.1"
    for name in ("memory_20_over_2", "memory_20_over_2.no_workers"):
        assert figures[f"{name}.short"].value > 50  # MiB
        assert len(figures[name].runs) == 1


def test_saved_models_are_taken_as_they_are(tiny_model: Path):
    assert sd15.save_sd15(tiny_model) == tiny_model


def test_names_select_their_measure_once():
    both = select_measures("job_over_models_toy, feed_rate,job_over_authors_toy")
    assert [m.names[0] for m in both] == ["feed_rate", "job_over_authors_toy"]


def test_stable_diffusion_shapes_are_measured_only_when_asked_for():
    assert {m.names[0] for m in select_measures("all")} - {m.names[0] for m in select_measures("quick")} == {
        "job_over_authors_sd15",
        "reconstruction",
    }
    assert len(select_measures("all")) == len(MEASURES) - 1


def test_object_storage_is_measured_only_by_name_and_at_an_address(context: Context):
    (measure,) = [measure for measure in MEASURES if measure not in select_measures("all")]
    assert select_measures("epoch_bucket_cold_over_disk") == [measure]
    for storage in ("", str(context.folder)):
        with pytest.raises(ValueError, match="pass --storage s3://bucket/new-folder"):
            measure.run(replace(context, config=replace(context.config, storage=storage)))


def test_an_unknown_measure_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--measures", "speed"])
    assert "measures names speed: expected quick, all, or of feed_rate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": 0}, "runs is 0: expected 1 or more"),
        ({"num_workers": -1}, "num_workers is -1: expected 0 or more"),
        ({"memory_tars": [3, 2]}, "expected two numbers, the smaller one first"),
        ({"memory_tars": [3]}, "expected two numbers, the smaller one first"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        BenchConfig(**changes)


def test_command_prints_a_table_and_writes_figures_with_their_command(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    assert main(["--measures=operations", "--runs=2", f"--out={settings['out']}"]) == 0
    entries = json.loads(settings["out"].read_text())
    assert all({"measure", "value", "unit", "runs", "how"} <= entry.keys() for entry in entries)
    assert entries[0]["measure"] == "operations_toy"
    command = "python -m bench --measures operations --runs 2"
    assert entries[0]["how"] == command
    printed = capsys.readouterr().out
    assert command in printed and "operations_sd15.unet" in printed
    machine = json.loads(settings["out"].with_name("bench.machine.json").read_text())
    assert machine["cores"] > 0 and machine["versions"]["torch"]
    assert sorted(path.name for path in settings["out"].parent.iterdir()) == ["bench.json", "bench.machine.json"]
