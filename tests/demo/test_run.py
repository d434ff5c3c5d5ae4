import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from cache_schema import Dataset
from demo.__main__ import main
from demo.images import MAX_ROWS
from demo.report.table import format_auroc
from demo.run import STEPS, DemoConfig
from demo.toy.config import SourceConfig
from demo.toy.loading import load_models
from demo.toy.photos import TABLE, load_table, load_tiles
from demo.toy.sources import make_images, pack_images, plain_task
from tests.demo.terminal import OnTerminal
from workflow.processes import run_module


@pytest.fixture(scope="module")
def model_folder(pipeline: StableDiffusionPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model")
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def few_photos(tmp_path: Path) -> Path:
    """A table of four scenes of one content, which are dealt to all three roles."""
    header, *rows = TABLE.read_text().splitlines()
    wanted = ("church", "pagoda", "brick-walls", "roof")
    table = tmp_path / "photos.csv"
    table.write_text("\n".join([header, *(row for row in rows if row.split(",")[2] in wanted)]) + "\n")
    return table


def test_model_that_is_not_there_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no model_index.json"):
        DemoConfig(model=tmp_path)
    with pytest.raises(ValueError, match=r"model_b is .*, which holds no model_index.json"):
        DemoConfig(model_b=tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["run", f"--model={tmp_path}", f"--out={tmp_path / 'out'}"])
    assert ended.value.code == 2
    assert not (tmp_path / "out").exists()


def test_failing_command_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="python -m cache_schema status ended with status"):
        run_module("cache_schema", "status", "--data", tmp_path, "--cache", tmp_path)


def make_arguments(out: Path, model_folder: Path, few_photos: Path) -> list[str]:
    models = [f"--model={model_folder}", f"--model_b={model_folder}"]
    arguments = ["run", *models, f"--photos={few_photos}", f"--out={out}", "--sources.num_steps=2"]
    return [*arguments, '--overrides=["--trainer.max_epochs=1", "--trainer.accelerator=cpu"]']


@pytest.mark.slow
def test_demo_runs_on_a_terminal_and_again_elsewhere(
    model_folder: Path, few_photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = make_arguments(out, model_folder, few_photos)
    terminal = OnTerminal(arguments)
    assert terminal.wait() == 0, "\n".join(terminal.lines)
    results = check_outputs(out)
    check_what_a_person_sees(terminal, out, results)
    check_that_processes_make_the_same_images(out, model_folder, few_photos, tmp_path)
    weights = (out / "detectors" / "full" / "checkpoints" / "best.ckpt").stat()
    capfd.readouterr()
    assert main(arguments) == 0
    assert (out / "detectors" / "full" / "checkpoints" / "best.ckpt").stat() == weights
    assert json.loads((out / "results.json").read_text())["readings"] == results["readings"]
    plain = capfd.readouterr()
    assert "\x1b" not in plain.out + plain.err and "%|" not in plain.err
    done = [line.removesuffix(": done already") for line in plain.err.splitlines() if line.endswith("done already")]
    assert done and set(done) == set(STEPS.values()) - {STEPS[name] for name in ("libraries", "results", "report")}
    assert format_auroc(results) in plain.out and format_auroc(results) in terminal.text.replace("\r\n", "\n")


def check_outputs(out: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    names = ["gradient_energy", "mean_lare", "map_only", "full", "permuted_maps", "constant_map"]
    assert list(results["readings"]) == names
    for reading in results["readings"].values():
        assert list(reading["sources"]) == ["toy-a", "toy-a-img2img", "toy-b", "toy-b-img2img"]
        assert list(reading["controls"]) == ["blurred-real", "vae-roundtrip-a", "vae-roundtrip-b"]
    assert 'id="gallery"' in (out / "report.html").read_text()
    return results


def check_that_processes_make_the_same_images(out: Path, model_folder: Path, few_photos: Path, tmp_path: Path) -> None:
    config = SourceConfig(num_steps=2)
    models, num_threads = load_models(config, model_folder, model_folder), torch.get_num_threads()
    torch.set_num_threads(1)  # as `OnTerminal`: their number decides how sums are rounded
    images = make_images(load_tiles(load_table(few_photos)), models, progress=False)
    torch.set_num_threads(num_threads)
    alone = pack_images(tmp_path / "alone", images, plain_task(models), {}, seed=0, max_rows=MAX_ROWS)
    assert [tar.rows_sha256 for tar in alone.tars] == [tar.rows_sha256 for tar in Dataset.open(out / "data").tars]


def check_what_a_person_sees(terminal: OnTerminal, out: Path, results: dict[str, Any]) -> None:
    assert max(len(line) for line in terminal.lines if str(out) not in line) <= 100
    steps = terminal.lines[: len(STEPS)]
    assert sorted(line.split("  ")[0].split(" ━")[0].strip() for line in steps) == sorted(STEPS.values())
    assert all(re.search(r"━{30} +\d+ s$", line) for line in steps)
    table = format_auroc(results).splitlines()
    assert terminal.lines[len(STEPS) :][1 : 1 + len(table)] == [line.rstrip() for line in table]
    for noise in ("Warning", "deprecated", "Tip", "GPU available", "it/s", "Seed set"):
        assert noise not in terminal.text
    log = (out / "log.txt").read_text()
    for said in ("Seed set to 0", "python -m train fit -c", "python -m demo images --out=", "python -m extract run"):
        assert said in log


@pytest.mark.slow
def test_ctrl_c_ends_with_a_line_that_says_how_to_go_on(model_folder: Path, few_photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    terminal = OnTerminal(make_arguments(out, model_folder, few_photos))
    terminal.read(until=lambda text: STEPS["data"] in text)
    terminal.press_ctrl_c()
    assert terminal.wait() == 130
    last = [line for line in terminal.lines if line][-1]
    assert last.startswith("stopped by Ctrl-C") and f"make demo OUT={out}" in last
    assert "Traceback" not in terminal.text


@pytest.mark.slow
def test_failed_step_names_the_log_and_shows_its_last_lines(
    model_folder: Path, few_photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model_folder, broken)
    (broken / "vae" / "config.json").write_text("{")
    arguments = make_arguments(tmp_path / "out", broken, few_photos)
    assert main(arguments) == 1
    shown = capfd.readouterr().err
    log = tmp_path / "out" / "log.txt"
    assert str(log) in shown and f"{STEPS['data']} failed" in shown
    tail = log.read_text().splitlines()[-3:]
    assert any(line in shown for line in tail)
    assert not (tmp_path / "out" / "results.json").exists()
