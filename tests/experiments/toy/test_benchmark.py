import json
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.answers.answer import Answer
from experiments.answers.groups import find_counts
from experiments.answers.markdown import as_section, escape
from experiments.toy import benchmark
from experiments.toy.benchmark import MEASURED, ToyBenchmarkConfig
from experiments.toy.data import GUIDANCES, TASKS
from experiments.toy.telling import TELLING
from tests.experiments.made_up import run_here
from train.scoring.prediction_file import hash_predictions
from train.scoring.titles import TITLES
from workflow import stages
from workflow.code_hash import ROOT

SOURCES = {f"toy-{letter}{suffix}" for letter in "abcd" for suffix in ("", "-img2img")}

ALWAYS = {"generator-real", "real-other-domain", *(f"toy-a-guidance-{g:g}" for g in GUIDANCES)}
CONTROLS = {"plain": ALWAYS | {f"vae-roundtrip-{letter}" for letter in "abc"}, "decoder-matched": ALWAYS | {"real"}}
"""Without `real-d` and, as these photographs are smooth, without `blurred-real`: copies say nothing."""


def settings_of(model_folders: dict[str, Path]) -> dict[str, Path]:
    return {"model" if letter == "a" else f"model_{letter}": folder for letter, folder in model_folders.items()}


def test_wrong_settings_are_refused_before_the_work(
    photographs: Path, model_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = settings_of(model_folders)
    with pytest.raises(ValueError, match=r"model_b is .*, which holds no model_index.json"):
        ToyBenchmarkConfig(photographs, **models | {"model_b": tmp_path})
    with pytest.raises(ValueError, match=r"model_d is .*, which holds no model_index.json"):
        ToyBenchmarkConfig(photographs, **models | {"model_d": tmp_path})
    without_c = ToyBenchmarkConfig(photographs, **models | {"model_c": None})
    assert without_c.models == {letter: model_folders[letter] for letter in "abd"}
    with pytest.raises(ValueError, match="num_seeds is 0: expected 1 or more"):
        ToyBenchmarkConfig(photographs, num_seeds=0, **models)
    with pytest.raises(ValueError, match=r"12 photographs of .* are in .* too"):
        ToyBenchmarkConfig(photographs, generator_photos=photographs, **models)
    with pytest.raises(SystemExit) as ended:
        main(["toy-benchmark", f"--photos={tmp_path}", *(f"--{k}={v}" for k, v in models.items())])
    assert ended.value.code == 2 and "no .jpg or .png below it" in capsys.readouterr().err


def test_a_dry_run_tells_what_is_trained_and_makes_nothing(
    photographs: Path, model_folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    out = tmp_path / "out"
    models = [f"--{name}={folder}" for name, folder in settings_of(model_folders).items()]
    assert main(["toy-benchmark", f"--photos={photographs}", *models, f"--out={out}", "--dry_run=true"]) == 0
    assert "12 photographs × 2 tiles" in caplog.text and not out.exists()
    assert f"2 tasks × {len(stages.DETECTORS)} detectors × 5 seeds × 14 epochs: 50 fits, 50 of them left" in caplog.text
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    assert MEASURED in caplog.text and MEASURED.partition(" it took ")[2] in page


def test_answers_alone_need_a_whole_run(
    photographs: Path, model_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    models = [f"--{name}={folder}" for name, folder in settings_of(model_folders).items()]
    arguments = ["toy-benchmark", f"--photos={photographs}", *models, f"--out={out}", "--answers_only=true"]
    assert main(arguments) == 1 and "none was begun" in capsys.readouterr().err and not out.exists()
    (out / ".steps").mkdir(parents=True)
    assert main(arguments) == 1
    assert "index.parquet. Name the folder and the seeds of that run" in capsys.readouterr().err
    assert not [path for path in out.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_benchmark_runs_from_photographs_to_answers_and_again(
    photographs: Path,
    generator_photographs: Path,
    model_folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stages, "run_module", run_here)
    out = tmp_path / "out"
    arguments = ["toy-benchmark", f"--photos={photographs}", f"--generator_photos={generator_photographs}"]
    arguments += [*(f"--{name}={folder}" for name, folder in settings_of(model_folders).items()), f"--out={out}"]
    arguments += ["--sources.num_steps=4", "--num_seeds=1", "--num_epochs=1", "--num_jobs=1"]
    arguments.append(
        '--overrides=["--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1", "--data.batch_size=8"]'
    )
    assert main(arguments) == 0
    answers = json.loads((out / "answers.json").read_text())
    shown = Answer.load(out / "toy-benchmark.json")
    assert shown.numbers["aims"] == answers["aims"] and sum(shown.settings["num_photographs"].values()) == 12
    text = (out / "RESULTS.md").read_text()
    assert text == as_section(shown)
    first = escape(answers["verdict"].splitlines()[0])
    assert text.startswith(f"## {escape(TELLING.question)}\n\n{first}\n\n") and shown.finding == answers["verdict"]
    assert answers["verdict"] in capfd.readouterr().out and str(tmp_path) not in text
    assert set(answers["pairs"]) == {f"toy-{letter}-img2img" for letter in "abc"}
    assert answers["without_roundtrip"] == ["toy-d-img2img"]
    assert "Not compared, as the model has no decoder, and so no VAE reconstruction of its own: toy-d-img2img." in text
    assert "toy-d-img2img: not compared" in shown.finding and find_counts(shown.numbers) - {None}
    assert None not in find_counts([answers, shown.numbers])
    assert "Few groups" in shown.limits and shown.settings["trained_at"]
    for task in TASKS:
        results = json.loads((out / task / "results.json").read_text())
        assert list(results["readings"]) == list(TITLES)
        negatives = "vae-roundtrip-a" if task == "plain" else "real"
        for reading in results["readings"].values():
            assert set(reading["sources"]) == SOURCES and set(reading["controls"]) == CONTROLS[task]
            assert negatives in reading["controls"] and f"| ({negatives}) |" in text
        assert set(results["differences"]["full − permuted_maps"]) == SOURCES
        shared = hash_predictions(out / "plain/predictions/test/mean_lare.parquet")
        assert results["settings"]["readings_sha256"]["mean_lare"] == [shared]
        assert all(None not in thresholds for thresholds in results["settings"]["thresholds"].values())
    weights = {path: path.stat() for path in out.rglob("best.ckpt")}
    assert len(weights) == 2 * len(stages.DETECTORS)
    assert main(arguments) == 0
    assert {path: path.stat() for path in out.rglob("best.ckpt")} == weights
    assert json.loads((out / "answers.json").read_text()) == answers
    for name in ("answers.json", "RESULTS.md", "toy-benchmark.json", "plain/results.json"):
        (out / name).unlink()
    monkeypatch.setattr(stages, "hash_code", lambda *modules: "other code")
    monkeypatch.setattr(benchmark, "hash_code", lambda *modules: "other code")
    assert main([*arguments, "--answers_only=true"]) == 0
    assert {path: path.stat() for path in out.rglob("best.ckpt")} == weights
    assert json.loads((out / "answers.json").read_text()) == answers and (out / "RESULTS.md").read_text() == text
    (out / "plain/predictions/test/full.parquet").unlink()
    assert main([*arguments, "--answers_only=true"]) == 1
    assert "Not there: 1 files, first " in capfd.readouterr().err
