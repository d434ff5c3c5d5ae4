import itertools
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import AutoencoderTiny

from cache_schema import RULES, Dataset, Fingerprint, FingerprintMismatch, create_cache
from experiments.answers.answer import Answer
from experiments.answers.rule import Verdict
from experiments.cheap import cheap
from experiments.cheap import settings as cheap_settings
from experiments.cheap.cheap import halve_crop
from experiments.cheap.settings import Setting, choose_candidates, list_settings, make_cache
from experiments.cheap.telling import (
    TELLING,
    charts,
    choose,
    compute_speedup,
    find_front,
    finding,
    headline,
    name_setting,
    tables,
)
from experiments.cheap.timing import measure_in_turns
from experiments.study import study as study_module
from experiments.study.config import StudyConfig
from experiments.study.settings import Scored, subtract_means, summarize
from experiments.study.stage_1 import count_giga_macs
from experiments.study.study import Study
from tests.experiments.made_up import as_json, line_with, list_fitted, list_planned, make_scored, run_here
from tests.experiments.small_set import make_study, write_small_set
from tests.models import save_tiny_sd, tiny_autoencoder_tiny
from workflow.code_hash import ROOT


def test_settings_are_the_default_each_change_and_all_changes_at_one_draw() -> None:
    settings = list_settings(4)
    assert settings[0] == Setting(4) and len(settings) == len(set(settings)) == 4 + 8
    assert [s.title for s in settings[:4]] == [
        "e = 4",
        "half size, e = 4",
        "AutoencoderTiny, e = 4",
        "small UNet, e = 4",
    ]
    assert settings[-1] == Setting(1, True, True, True)
    assert len(list_settings(1)) == 8
    names = {setting.cache_name(200) for setting in settings}
    assert len(names) == 12 and {"t200-e4", "t200-e1", "small-unet-autoencodertiny-half-size-t200-e1"} <= names


@pytest.fixture
def make_candidates(dataset: Dataset, model_folders: dict[str, Path], tmp_path: Path):
    """The candidates of a study whose default cache has no stores yet."""

    def make(image_size: int = 128, **models: str | Path):
        fields = {"image_size": image_size, "timestep": 200, "ensemble_size": 4, "noise_seed": 0, "method": "lare"}
        fields |= {"compute_dtype": "fp32", "stored_dtype": "float32", "mantissa_bits": 23, **RULES}
        create_cache(tmp_path / "caches" / "t200-e4", dataset.dataset_id, Fingerprint(fields))
        configs = ROOT / "demo" / "configs"
        config = StudyConfig(
            data=dataset.folder,
            model=str(model_folders["a"]),
            caches=tmp_path / "caches",
            out=tmp_path / "study",
            extract_config=configs / "extract.yaml",
            recipe=configs / "full.yaml",
            **{name: str(folder) for name, folder in models.items()},
        )
        return choose_candidates(Study(config))

    return make


def test_what_cannot_be_run_is_named_with_its_reason(make_candidates, model_folders: dict[str, Path]) -> None:
    found, left_out = make_candidates()
    assert [c.setting.title for c in found] == ["e = 4", "half size, e = 4", "e = 1", "half size, e = 1"]
    assert len(left_out) == 8 and left_out["AutoencoderTiny, e = 1"] == "tiny_vae names no AutoencoderTiny"
    assert left_out["small UNet, half size, e = 1"] == "small_model names no model"


def test_half_the_side_must_suit_the_model(make_candidates) -> None:
    found, left_out = make_candidates(image_size=64)
    assert [c.setting.title for c in found] == ["e = 4", "e = 1"]
    assert left_out["half size, e = 1"] == "image_size is 32: autoencoder and UNet of this model need a multiple of 64"


def test_tiny_autoencoder_serves_a_small_model_of_the_same_latents_only(
    make_candidates, model_folders: dict[str, Path], tmp_path: Path
) -> None:
    tiny = save_tiny_sd(tmp_path / "tiny", tiny_vae=True)
    found, _ = make_candidates(small_model=model_folders["a"], tiny_vae=tiny)
    assert len(found) == 12
    by_title = {c.setting.title: c for c in found}
    last = by_title["small UNet, AutoencoderTiny, half size, e = 1"]
    assert (last.config.image_size, last.config.ensemble_size, last.config.device) == (64, 1, "cpu")
    assert (last.config.model, last.config.vae) == (str(model_folders["a"]), str(tiny))
    assert last.folder.vae.class_name == "AutoencoderTiny"
    costs = {title: count_giga_macs(by_title[title].config) for title in ("e = 4", "e = 1", "half size, e = 1")}
    unet = (costs["e = 4"] - costs["e = 1"]) / 3
    assert 0 < unet < costs["e = 1"] and costs["half size, e = 1"] == pytest.approx(costs["e = 1"] / 4, rel=0.1)
    _, left_out = make_candidates(small_model=model_folders["b"], tiny_vae=tiny)
    assert len(left_out) == 2 and "other latents" in left_out["small UNet, AutoencoderTiny, e = 1"]


def test_front_has_what_nothing_else_is_as_cheap_and_as_good_as() -> None:
    costs = {"a": 4.0, "b": 2.0, "c": 1.0, "d": 2.0, "e": 3.0, "f": 1.0}
    values = {"a": 0.9, "b": 0.7, "c": 0.6, "d": 0.8, "e": 0.8, "f": 0.5}
    assert find_front(costs, values) == ["c", "d", "a"]


def test_detectors_of_half_the_canvas_get_half_the_box(tmp_path: Path) -> None:
    for view, expected in (("canvas", ("--data.crop_px=28",)), ("native", ())):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {"crop_px": 56, "view": view}}))
        assert halve_crop(tmp_path) == expected


TITLES = ("e = 4", "e = 1", "half size, e = 1")


def scores(*aurocs: tuple[float, float]) -> dict[str, Scored]:
    """Validation and test AUROC of each setting."""
    pairs = zip(TITLES, aurocs, strict=True)
    return {title: make_scored({"a": validation}, {"a": test}) for title, (validation, test) in pairs}


def gains_of(scored: Mapping[str, Scored]) -> dict[str, dict]:
    return {title: subtract_means(each, scored["e = 4"]) for title, each in scored.items() if title != "e = 4"}


COSTS = {"e = 4": 4.0, "e = 1": 2.0, "half size, e = 1": 1.0}


def numbers_of(scored: dict[str, Scored], left_out: dict[str, str] | None = None) -> dict[str, Any]:
    """The detector that sees the map alone, at 64 images at a time."""
    gains = gains_of(scored)
    found = {
        "default": "e = 4",
        "giga_macs": COSTS,
        "milliseconds": {64: {t: {"median": cost, "fastest": cost, "slowest": cost} for t, cost in COSTS.items()}},
        "gains": {"map_only": gains},
        "margin": 0.01,
        "readings": summarize({name_setting("map_only", title): each for title, each in scored.items()}),
        "left_out": left_out or {},
    }
    return as_json(found)


@pytest.mark.parametrize(
    ("half", "chosen", "speed", "ms"),
    [((0.7, 0.6), "half size, e = 1", 4.0, "1"), ((0.6, 0.7), "e = 1", 2.0, "2")],
)
def test_the_cheapest_is_chosen_on_validation_and_its_test_figure_follows(
    half: tuple[float, float], chosen: str, speed: float, ms: str
) -> None:
    scored = scores((0.7, 0.7), (0.7, 0.72), half)
    found = numbers_of(scored)
    assert choose(found) == {"map_only": chosen} and compute_speedup(found, chosen) == speed
    assert f"“{chosen}”" in headline(found) and f"{speed:.1f} times as fast" in headline(found)
    auroc = f"{scored[chosen].test['mean']['auroc'].mean:.2f}"
    line_with(finding(found), f"“{chosen}”", f"{ms} instead of 4 ms", f"{speed:.1f} times as fast, 64 images", auroc)


def test_finding_begins_with_what_was_not_tried_and_what_is_lost() -> None:
    left_out = {"small UNet, e = 1": "small_model names no model", "small UNet, e = 4": "small_model names no model"}
    found = numbers_of(scores((0.7, 0.7), (0.6, 0.6), (0.6, 0.8)), left_out)
    assert choose(found) == {"map_only": "e = 4"} and "“e = 4”" in headline(found)
    text = finding(found)
    first = text.splitlines()[0]
    assert all(part in first for part in ("small_model names no model", "“small UNet, e = 1”", "“small UNet, e = 4”"))
    worse = line_with(text, "only, “e = 1”", Verdict.WORSE, "−0.100 (")
    better = line_with(text, "only, “half size, e = 1”", Verdict.BETTER, "+0.100 (")
    assert text.index(worse) < text.index(better) and "times as fast" not in text
    equal = numbers_of(scores((0.7, 0.7), (0.7, 0.7), (0.7, 0.7)))
    assert Verdict.SAME in line_with(finding(equal), "only, “e = 1”")


def test_two_seeds_choose_nothing() -> None:
    scored = {title: make_scored({"a": 0.7}, {"a": 0.7}, num_seeds=2) for title in TITLES}
    found = numbers_of(scored)
    assert choose(found) == {"map_only": "e = 4"} and Verdict.FEW_SEEDS in headline(found)
    line_with(finding(found), "only, “e = 1”", Verdict.FEW_SEEDS)


@pytest.mark.parametrize(("default", "word"), [(0.505, "consistent with"), (0.6, "above"), (0.4, "inverted")])
def test_the_default_is_told_against_chance(default: float, word: str) -> None:
    found = numbers_of(scores((0.7, default), (0.7, default), (0.7, default)))
    line_with(finding(found), "default “e = 4” against chance", word, f"{default:.2f}")


def test_nothing_is_better_where_all_is_at_chance() -> None:
    found = numbers_of(scores((0.7, 0.3), (0.7, 0.4), (0.7, 0.2)))
    line_with(finding(found), "only, “e = 1”", Verdict.INVERTED, "+0.100 (")


def test_chart_shows_test_figures_and_joins_the_front_of_validation() -> None:
    (chart,) = charts(numbers_of(scores((0.9, 0.8), (0.7, 0.6), (0.8, 0.7))))
    front, other = chart.curves
    assert front.labels == ("half size, e = 1", "e = 4") and front.x == (1, 4) and front.y == pytest.approx((0.7, 0.8))
    assert other.name == "e = 1" and other.x == (2,)


def test_tables_have_a_row_a_setting() -> None:
    means, gains = tables(numbers_of(scores((0.9, 0.8), (0.7, 0.6), (0.8, 0.7))))
    times = {title: f"{cost:g} ({cost:g} to {cost:g})" for title, cost in COSTS.items()}
    assert [row[:3] for row in means.rows] == [(title, cost, times[title]) for title, cost in COSTS.items()]
    assert [row[0] for row in gains.rows] == [*TITLES[1:]] and gains.rows[0][2].startswith("−0.200")


@pytest.mark.slow
def test_answer_from_models_to_the_front(
    photographs: Path, model_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "run_module", run_here)
    settings = [Setting(4), Setting(1), Setting(1, is_tiny=True, is_half=True), Setting(1, is_small=True)]
    monkeypatch.setattr(cheap_settings, "list_settings", lambda ensemble_size: settings)
    monkeypatch.setattr(cheap, "list_settings", lambda ensemble_size: settings)
    ticks = itertools.count()
    monkeypatch.setattr(cheap, "measure_in_turns", partial(measure_in_turns, clock=lambda: float(next(ticks))))
    stage_1 = yaml.safe_load((ROOT / "demo" / "configs" / "extract.yaml").read_text())
    (tmp_path / "extract.yaml").write_text(yaml.safe_dump(stage_1 | {"image_size": 128, "batch_size": 8}))
    tiny = save_tiny_sd(tmp_path / "tiny", tiny_vae=True)
    data = write_small_set(tmp_path / "small", photographs)
    overrides = ("--trainer.accelerator=cpu", "--data.batch_size=4", "--data.num_workers=0", "--data.crop_px=112")
    changes = {"extract_config": tmp_path / "extract.yaml", "tiny_vae": str(tiny), "fit_overrides": overrides}
    study = make_study(data.folder, model_folders["a"], tmp_path, **changes)

    found = cheap.answer(study)
    assert Answer.load(study.write(found)).finding == found.finding and TELLING.retell(found) == found
    assert list_fitted(study) == list_planned(cheap.work(study))
    titles = [setting.title for setting in settings[:3]]
    assert list(found.numbers["giga_macs"]) == titles and list(found.numbers["left_out"]) == ["small UNet, e = 1"]
    weights = found.settings["weights"]
    assert list(weights) == titles and weights[titles[0]] == weights[titles[1]] != weights[titles[2]]
    times = found.numbers["milliseconds"]
    assert [list(by_title) for by_title in times.values()] == [titles, titles]
    assert times["8"][titles[0]]["median"] == 1000 / 8
    half = study.config.out / "detectors" / "map_only-autoencodertiny-half-size-t200-e1" / "seed-0" / "config.yaml"
    assert yaml.safe_load(half.read_text())["data"]["crop_px"] == 56
    assert set(found.numbers["readings"]["test"]) == {
        f"{name}, {title}" for name in ("mean LaRE", "detector, map only") for title in titles
    }

    torch.manual_seed(1)
    other: AutoencoderTiny = tiny_autoencoder_tiny()
    other.save_pretrained(tiny / "vae")
    candidates, _ = choose_candidates(study)
    with pytest.raises(FingerprintMismatch, match="was made with another vae"):
        make_cache(study, candidates[2])
