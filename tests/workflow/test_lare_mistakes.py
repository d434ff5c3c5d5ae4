"""A user's mistake is one sentence and an exit status, in every verb."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from cache_schema import RULES, Dataset, Fingerprint, create_cache, store_name, write_dataset
from tests.samples import make_sample, make_shard
from workflow import lare
from workflow.code_hash import ROOT

pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.* is deprecated"),
]


def make_cache(folder: Path, dataset: Dataset) -> None:
    fields = {"method": "lare", "timestep": 200, "image_size": 16, "stored_dtype": "float32", "mantissa_bits": 23}
    cache = create_cache(folder, dataset.dataset_id, Fingerprint(fields | RULES))
    for number, tar in enumerate(dataset.tars):
        cache.write(store_name(tar.name), make_shard(dataset.rows(number), tar))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, one of photographs alone, their caches, small settings, and a file that is nothing."""
    folder = tmp_path_factory.mktemp("größe ²")
    for name, step in (("data", 1), ("photographs", 2)):
        splits = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
        samples = [make_sample(i * step, split=split) for i, split in enumerate(splits)]
        make_cache(folder / f"{name}-cache", write_dataset(folder / name, samples, {"made_by": "a test"}, max_rows=8))
    settings = {
        "trainer": {"max_epochs": 1, "precision": "32-true", "accelerator": "cpu", "enable_model_summary": False},
        "model": {"backbone": "resnet_tiny_clip", "pretrained": False},
        "data": {"batch_size": 4, "num_workers": 0, "crop_px": 16},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (folder / "file").write_text("no checkpoint, no folder")
    return folder


MISTAKES = [
    ("pack --src nowhere --out out", 2, "nowhere"),
    ("pack --src data --out data --layout dataset", 1, "data"),
    ("extract --data nowhere --cache out --model model", 1, "nowhere"),
    ("extract --data data --cache out --model nowhere", 2, "nowhere"),
    ("extract --data data --cache out --timestep abc", 2, "--timestep is abc: expected int"),
    ("extract --data data --cache out --timestep -1", 2, "timestep is -1: expected 0 or more"),
    ("launch --data nowhere --cache out --model model --engine local", 1, "nowhere"),
    ("watch --cache nowhere", 1, "nowhere"),
    ("watch --cache data-cache --every_sec 0", 2, "every_sec is 0"),
    ("import-maps --data data --maps nowhere --annotation file --cache out", 2, "nowhere"),
    ("noise-study --data nowhere --out out.csv --model model", 1, "nowhere"),
    ("status --data nowhere --cache data-cache", 1, "nowhere"),
    ("status --data photographs --cache data-cache", 1, "belongs to dataset"),
    ("verify --data data --cache nowhere", 1, "nowhere"),
    ("verify --data data --cache data-cache --num_workers 0", 2, "workers is 0"),
    ("info nowhere", 1, "nowhere"),
    ("info", 2, "store"),
    ("derive --cache nowhere --out out", 1, "nowhere"),
    ("derive --cache data-cache --out file/out", 1, "file"),
    ("derive --cache data-cache --out out --stored_dtype int8", 2, "int8"),
    ("readings --data nowhere --cache data-cache --split test --out out", 1, "nowhere"),
    ("readings --data data --cache data-cache --split test --out file/out", 1, "file"),
    ("readings --data data --cache data-cache --split tset --out out", 1, "tset"),
    ("evaluate --data data --cache data-cache --readings a=nowhere --out out.json", 2, "nowhere"),
    ("evaluate --data data --cache data-cache --readings a=file --out out.json", 1, "file"),
    ("export --ckpt nowhere --out out", 1, "nowhere"),
    ("export --ckpt file --out out", 1, "file"),
    ("matrix --recipe lare2 --data nowhere --cache data-cache --out out", 1, "nowhere"),
    ("matrix --recipe lare3 --data data --cache data-cache --out out", 2, "lare2"),
    ("plots --out out", 1, "nothing to draw"),
    ("plots --out out --matrix nowhere", 1, "nowhere"),
    ("demo --model nowhere", 2, "nowhere"),
    ("demo --sources.num_steps many", 2, "sources.num_steps is many"),
    ("bench --measures nothing", 2, "nothing"),
    ("question egre --data data --model model --caches . --out out --recipe nowhere --extract_config nowhere", 2, "no"),
    ("question report --answers nowhere --data data", 2, "data and caches"),
    ("fit --config small.yaml --data nowhere --cache data-cache --out out", 1, "nowhere holds no dataset.json"),
    (
        "fit --config small.yaml --data data --cache data-cache --out out --trainer.max_epochs abc",
        2,
        "is abc: expected",
    ),
    ("fit --config small.yaml --data data --cache data-cache --out out --ckpt nowhere", 1, "no checkpoint nowhere"),
    (
        "fit --config small.yaml --data data --cache data-cache --out out --ckpt file",
        1,
        "cannot be read as a checkpoint",
    ),
    ("fit --config small.yaml --data photographs --cache photographs-cache --out out", 1, "no generated images"),
    ("fit --config small.yaml --data data --cache photographs-cache --out out", 1, "belongs to dataset"),
    ("predict --ckpt nowhere", 2, "nowhere"),
    ("predict --config small.yaml --ckpt file --data data --cache data-cache", 1, "cannot be read as a checkpoint"),
]


@pytest.mark.parametrize(("command", "status", "words"), MISTAKES, ids=[command for command, *_ in MISTAKES])
def test_a_mistake_is_one_sentence(
    command: str,
    status: int,
    words: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    shutil.rmtree("out", ignore_errors=True)  # of another mistake's test, in whichever order they run
    monkeypatch.setattr(logging, "raiseExceptions", False)  # Lightning's handler has the stream of its first test
    try:
        found = lare.main(command.split())
    except SystemExit as ended:
        found = int(str(ended.code))
    text = capsys.readouterr().err
    told = [line for line in text.splitlines() if line.startswith("error: ")]
    assert found == status, text
    assert "Traceback" not in text and len(told) == 1 and words in told[0]
    assert text.splitlines()[-1] == told[0]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status", "words"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "")])
def test_a_fit_that_is_stopped_says_so(number: int, status: int, words: str, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    places = ["--data", str(place / "data"), "--cache", str(place / "data-cache"), "--out", str(out)]
    configs = ["--config", "lare2", str(place / "small.yaml")]
    command = [sys.executable, "-m", "workflow", "fit", *configs, *places, "--trainer.max_epochs=100000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(out / "checkpoints" / "best.ckpt", process)
            process.send_signal(number)
            _, text = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == status, text
    assert words in text.splitlines()[-1] and "Traceback" not in text


def wait_for(file: Path, process: "subprocess.Popen[str]") -> None:
    """Wait until a process has written a file."""
    deadline = time.monotonic() + 300
    while not file.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_every_verb_of_training_works_in_a_locale_without_letters(place: Path, tmp_path: Path) -> None:
    run, data = tmp_path / "größe ² run", ["--data", str(place / "data"), "--cache", str(place / "data-cache")]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    reading = ["--readings", f"full={run / 'predictions.parquet'}"]
    for command in (
        ["fit", "--config", "lare2_paper", str(place / "small.yaml"), *data, "--out", str(run)],
        ["predict", "--ckpt", str(run / "checkpoints" / "best.ckpt"), *data, "--out", str(run)],
        ["evaluate", *data, *reading, "--out", str(run / "results.json")],
        ["status", *data],
        ["extract", "--help"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "workflow", *command], cwd=ROOT, env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode("ascii")
        done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert (run / "results.json").is_file()
