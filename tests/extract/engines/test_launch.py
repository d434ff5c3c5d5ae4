"""Launching: what becomes a task, what it costs, the batch file, and engine local with its failures and its end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from cache_schema import Dataset, open_cache
from extract.__main__ import main
from extract.engines.config import EngineName, LaunchConfig
from extract.engines.launch import Launch
from extract.engines.registry import ENGINES, make_engine
from extract.engines.slurm import batch_file, task_command
from extract.lare import squared_errors
from extract.models.costs import count_macs, count_macs_by_format, count_macs_by_part, expected_rate
from extract.models.folder import ModelFolder
from extract.models.schedule import load_noising
from extract.models.stable_diffusion import StableDiffusion
from extract.run.progress import ProgressFile
from tests.extract.conftest import Run, pack, read_maps
from tests.models import macs_of_run

Arguments = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(models: dict[str, Path], tmp_path: Path) -> Arguments:
    """Settings of a launch of the tiny model, as keywords."""

    def make(**changes: Any) -> dict[str, Any]:
        defaults: dict[str, Any] = {
            "data": str(tmp_path / "data"),
            "cache": str(tmp_path / "cache"),
            "model": str(models["sd"]),
            "image_size": 64,
            "ensemble_size": 2,
            "batch_size": 4,
            "num_workers": 0,
            "stored_dtype": "float32",
            "device": "cpu",
        }
        return {**defaults, **changes}

    return make


def as_flags(settings: dict[str, Any]) -> list[str]:
    return [f"--{name}={json.dumps(v) if isinstance(v, dict) else v}" for name, v in settings.items()]


def test_a_dry_run_tells_batch_file_and_costs_and_starts_nothing(
    packed: Dataset, settings: Arguments, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("INFO")
    given = settings(partition="gpu", account="lab", sbatch={"constraint": "a100"}, concurrency=7, tars_per_task=1)
    given |= {"images_per_second": 14, "dry_run": "true", "device": "auto"}
    assert main(["launch", *as_flags(given)]) == 0
    for words in (
        "7 images in 2 tars (0 stores are there), e = 2, 0.0136 GMAC each: 0.00014 GPU-hours at 14.0 images/s (as",
        "2 tasks, at most 7 at a time, each with 1 GPU, 2 CPUs, 24 GB → ",
        "#SBATCH --mem=24576M",
        "#SBATCH --array=0-1%2",
        "#SBATCH --partition=gpu",
        "#SBATCH --account=lab",
        "#SBATCH --constraint=a100",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:USR2@90",
        " --cpus-per-task=2 ",
        f"#SBATCH --output={tmp_path / 'cache' / '.logs'}/slurm-%A_%a.log",
        f"{sys.executable} -u -m extract run --data={tmp_path / 'data'} --model=",
        "tasks=(0 1)",
    ):
        assert words in caplog.text
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["cache.json"]


def test_a_launch_that_came_to_nothing_does_not_lock_the_folder_to_its_settings(
    packed: Dataset, settings: Arguments, run: Run, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert main(["launch", *as_flags(settings(dry_run="true"))]) == 0
    assert main(["launch", *as_flags(settings(dry_run="true", timestep=100))]) == 0
    assert "holds no store yet: it takes the new settings (before ≠ now: timestep: 200 ≠ 100" in caplog.text
    with ProgressFile(tmp_path / "cache", 1, 1):  # a task at work
        assert main(["launch", *as_flags(settings(dry_run="true"))]) == 1
    with pytest.raises(ValueError), ProgressFile(tmp_path / "cache", 1, 1):
        raise ValueError  # a task that has failed
    assert main(["launch", *as_flags(settings(dry_run="true"))]) == 0
    assert run(timestep=200) == 0
    assert main(["launch", *as_flags(settings(dry_run="true", timestep=100))]) == 1
    assert open_cache(tmp_path / "cache").fields["timestep"] == 200


def test_only_what_is_missing_or_stale_becomes_a_task(
    packed: Dataset, settings: Arguments, run: Run, tmp_path: Path
) -> None:
    def tasks(**changes: Any) -> list[str]:
        return list(Launch.prepare(LaunchConfig(**settings(tars_per_task=1, **changes))).tasks)

    assert tasks() == ["0", "1"]
    assert tasks(shard="1") == ["1"]
    assert run(shard=0) == 0
    assert tasks() == ["1"]
    assert run() == 0
    assert tasks() == []
    # the same images in another order: both stores no longer belong to their tars
    manifest = tmp_path / "data" / "dataset.json"
    content = json.loads(manifest.read_text())
    pack(tmp_path / "other", list(range(6, -1, -1)))
    for path in (tmp_path / "other").iterdir():
        path.replace(tmp_path / "data" / path.name)
    changed = json.loads(manifest.read_text()) | {"dataset_id": content["dataset_id"]}
    manifest.write_text(json.dumps(changed))
    assert tasks(overwrite="stale") == ["0", "1"]


@pytest.mark.parametrize(
    ("images_in_half_an_hour", "processes", "expected"),
    [(6.5, 1, 6), (0.3, 1, 1), (1e9, 1, 100), (1e9, 3, 34), (60.5, 50, 2)],
)
def test_tasks_take_half_an_hour_and_no_process_is_left_without(
    images_in_half_an_hour: float, processes: int, expected: int, settings: Arguments, tmp_path: Path
) -> None:
    pack(tmp_path / "data", list(range(100)), max_rows=1)
    given = settings(engine="local", processes=processes, images_per_second=images_in_half_an_hour / 1800)
    first, _, last = Launch.prepare(LaunchConfig(**given)).tasks[0].partition("-")
    assert int(last or first) + 1 == expected


@pytest.mark.parametrize(
    ("concurrency", "gpus", "minutes", "expected"),
    [
        (64, 1, 0.1, 20),  # as many as there are tars
        (4, 1, 0.1, 4),  # as many as may run at a time, although one would be done in minutes
        (1, 1, 0.1, 1),
        (4, 1, 15, 10),  # half an hour each
        (2, 2, 15, 5),  # two GPUs do twice as much in half an hour
        (64, 8, 0.1, 3),  # each of eight GPUs has a tar
    ],
)
def test_slurm_has_as_many_tasks_as_may_run_at_a_time(
    concurrency: int, gpus: int, minutes: float, expected: int, settings: Arguments, tmp_path: Path
) -> None:
    pack(tmp_path / "data", list(range(20)), max_rows=1)
    given = settings(concurrency=concurrency, gpus_per_task=gpus, images_per_second=1 / (60 * minutes))
    assert len(Launch.prepare(LaunchConfig(**given)).tasks) == expected


@pytest.mark.parametrize(
    ("changes", "memory"),
    [
        ({"num_workers": 8}, 32),
        ({"num_workers": 8, "gpus_per_task": 8}, 144),
        ({"num_workers": 2, "gpus_per_task": 0}, 26),
        ({"gpus_per_task": 8, "memory_gb": 10}, 10),
    ],
)
def test_memory_grows_with_gpus_and_workers(changes: dict[str, Any], memory: float, settings: Arguments) -> None:
    config = LaunchConfig(**settings(**changes))
    assert f"#SBATCH --mem={memory * 1024}M" in batch_file(config, [], ["0"])
    assert make_engine(config).resources.endswith(f" {memory} GB")


def test_there_are_never_more_tasks_than_an_array_may_have(
    settings: Arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(tmp_path / "data", list(range(10)), max_rows=1)
    monkeypatch.setattr("extract.engines.launch.MAX_TASKS", 4)
    assert list(Launch.prepare(LaunchConfig(**settings(images_per_second=1e-9))).tasks) == ["0-2", "3-5", "6-8", "9"]


def test_the_rate_is_given_or_measured_or_assumed(packed: Dataset, settings: Arguments, run: Run) -> None:
    assert Launch.prepare(LaunchConfig(**settings(images_per_second=3))).rate.images_per_second == 3
    assert Launch.prepare(LaunchConfig(**settings())).rate.source.startswith("assuming 0.1 TMAC/s")
    assert run() == 0
    rate = Launch.prepare(LaunchConfig(**settings())).rate
    assert rate.source == "the mean of 2 finished stores" and rate.images_per_second > 0
    assert expected_rate(None, [], {"bf16": 496 * 10**9}, "cuda").images_per_second == pytest.approx(40e12 / 496e9)


def test_a_pair_of_formats_costs_what_both_do(models: dict[str, Path]) -> None:
    folder = ModelFolder.open(str(models["sd"]))
    parts = count_macs_by_part(folder, 64)
    for compute_dtype, expected in (
        ("bf16", {"bf16": parts["vae_encoder"] + 4 * parts["unet"]}),
        ("fp16", {"fp32": parts["vae_encoder"], "fp16": 4 * parts["unet"]}),
        ("fp16/tf32", {"tf32": parts["vae_encoder"], "fp16": 4 * parts["unet"]}),
    ):
        assert count_macs_by_format(folder, 64, (4, 0), compute_dtype) == expected
    rate = expected_rate(None, [], {"tf32": 136 * 10**9, "fp16": 360 * 10**9}, "cuda")
    assert rate.images_per_second == pytest.approx(1 / (136e9 / 20e12 + 360e9 / 40e12))
    assert rate.source.startswith("assuming 20 TMAC/s in tf32 and 40 TMAC/s in fp16; pass")


@pytest.mark.parametrize("name", ["sd", "unconditional", "tiny_vae"])
def test_operations_are_counted_without_weights(models: dict[str, Path], name: str) -> None:
    folder = ModelFolder.open(str(models[name]), None, None, None)
    loaded = StableDiffusion(folder, load_noising(folder, [200]), "fp32", torch.device("cpu"))
    latents = torch.zeros(1, *folder.latent_shape(64))
    embeds = loaded.condition([""])
    encoding = macs_of_run(lambda: loaded.encode(torch.zeros(1, 3, 64, 64), latents))
    predicting = macs_of_run(lambda: squared_errors(loaded, latents, latents[None], 0, embeds))
    assert count_macs(folder, 64, 3) == encoding + 3 * predicting


def test_tasks_of_another_method_have_its_costs_and_settings(
    packed: Dataset, settings: Arguments, models: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    launch = Launch.prepare(LaunchConfig(**settings(method="dire", inversion_steps=3, dry_run=True)))
    assert launch.macs == count_macs(ModelFolder.open(str(models["sd"])), 64, 6, 1)
    told = launch.config.run_settings(launch.engine.device)
    assert (told["method"], told["inversion_steps"]) == ("dire", 3)
    launch.run()
    assert "7 images in 2 tars (0 stores are there), dire, 3 + 3 steps, " in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "k8s"}, "engine is 'k8s': expected slurm or local"),
        ({"overwrite": True}, "overwrite is true"),
        ({"tars_per_task": 0}, "tars_per_task is 0: expected 1 or more"),
        ({"memory_gb": 0}, "memory_gb is 0: expected more than 0"),
    ],
)
def test_wrong_settings_are_refused(settings: Arguments, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LaunchConfig(**settings(**changes))


@pytest.mark.parametrize("name", get_args(EngineName))
def test_every_engine_that_can_be_chosen_is_there_and_plans_tasks(name: EngineName, settings: Arguments) -> None:
    engine = make_engine(LaunchConfig(**settings(engine=name, processes=3, concurrency=5, gpus_per_task=0)))
    assert type(engine) is ENGINES[name] and len(ENGINES) == len(get_args(EngineName))
    assert engine.device == "cpu"
    assert engine.max_at_once >= engine.min_tasks >= 1
    assert isinstance(engine.describe(["--image_size=64"], ["0-3"]), str)


def test_tasks_are_told_absolute_paths_and_a_device_that_must_be_there(
    settings: Arguments, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models["sd"].parent)
    config = LaunchConfig(**settings(data="d", cache="c", model="sd", device="auto"))
    told = config.run_settings(make_engine(config).device)
    root = models["sd"].parent
    assert (told["data"], told["cache"], told["model"]) == (f"{root}/d", f"{root}/c", f"{root}/sd")
    assert told["device"] == "cuda"
    assert make_engine(LaunchConfig(**settings(device="auto", gpus_per_task=0))).device == "cpu"
    assert "shard" not in told and "partition" not in told


def test_sbatch_that_is_not_there_is_an_error(
    packed: Dataset, settings: Arguments, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["launch", *as_flags(settings())]) == 1
    assert "this machine submits no SLURM jobs: there is no sbatch" in capsys.readouterr().err


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs called sbatch, srun and scontrol, which keep what they are given."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in {
        "sbatch": f'cat > "{folder}/submitted"; echo "17;cluster"',
        "srun": f'printf "%s\\n" "$@" > "{folder}/work"; exec /bin/sh "{folder}/task"',
        "scontrol": f'echo "$@" >> "{folder}/requeued"',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def submit(settings: dict[str, Any], slurm: Path) -> str:
    assert main(["launch", *as_flags(settings)]) == 0
    return (slurm / "submitted").read_text()


def test_what_runs_lies_in_no_folder_and_its_settings_survive_the_shell(
    packed: Dataset, settings: Arguments, slurm: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("INFO")
    prompt = "a 'photo' of \"$HOME\" `id` $(id); é\\n"
    text = submit(settings(tars_per_task=1, prompt=prompt, prompt_policy="fixed", timesteps="[100, 200]"), slurm)
    assert "job 17: 2 tasks" in caplog.text
    assert [*(tmp_path / "cache" / ".logs").iterdir()] == []
    (slurm / "task").write_text("exit 3")
    done = subprocess.run(["bash", "-c", text], env={**os.environ, "SLURM_ARRAY_TASK_ID": "1"}, capture_output=True)
    assert done.returncode == 3
    given = (slurm / "work").read_text().splitlines()
    assert given[-1] == "--shard=1" and f"--prompt={prompt}" in given and "--timesteps=[100, 200]" in given
    run = [*given[given.index("run") + 1 :], f"--cache={tmp_path / 'again'}", "--device=cpu", "--overwrite=true"]
    assert main(["run", *run]) == 0  # the flags are those of a run
    for timestep in (100, 200):
        assert open_cache(tmp_path / "again" / f"t{timestep}-e2").fields["timestep"] == timestep


@pytest.mark.parametrize(("end", "status"), [("exit 0", 0), ("exit 3", 3), ("exit 1", 1), ("kill -9 $$", 137)])
def test_a_task_exits_as_its_run_does(end: str, status: int, packed: Dataset, settings: Arguments, slurm: Path) -> None:
    text = submit(settings(), slurm)
    (slurm / "task").write_text(end)
    assert subprocess.run(["bash", "-c", text]).returncode == status


@pytest.mark.parametrize(("restarts", "expected"), [(0, ["requeue 5_7"]), (3, [])])
def test_before_its_time_limit_a_task_goes_back_into_the_queue_a_few_times(
    restarts: int, expected: list[str], packed: Dataset, settings: Arguments, slurm: Path
) -> None:
    text = submit(settings(), slurm).replace("tasks=(", "tasks=(0 0 0 0 0 0 0 ")
    (slurm / "task").write_text(f"touch {slurm}/begun; while [ ! -e {slurm}/stop ]; do sleep 0.1; done; exit 143")
    job = {"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "7"}
    environment = {**os.environ, **job, "SLURM_RESTART_COUNT": str(restarts)}
    process = subprocess.Popen(["bash", "-c", text], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (slurm / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR2)
    time.sleep(0.5)
    (slurm / "stop").touch()
    assert process.wait(60) == 143
    requeued = slurm / "requeued"
    assert (requeued.read_text().splitlines() if requeued.exists() else []) == expected


def test_a_task_with_several_gpus_deals_its_tars_to_them(settings: Arguments, tmp_path: Path) -> None:
    one, eight = (task_command(LaunchConfig(**settings(gpus_per_task=n)), ["--image_size=64"])[3:] for n in (1, 8))
    assert one == ["extract", "run", "--image_size=64"]
    logs = f"--logs={tmp_path / 'cache' / '.logs'}"
    assert eight == ["extract", "launch", "--image_size=64", logs, "--engine=local"]


def test_an_option_of_sbatch_is_one_line(settings: Arguments) -> None:
    config = LaunchConfig(**settings(sbatch={"comment": "a\n#SBATCH --uid=0"}))
    with pytest.raises(ValueError, match="cannot be an option of sbatch: expected one line of plain text"):
        batch_file(config, [], ["0"])


@pytest.mark.slow
def test_local_processes_give_the_same_as_one_run(
    packed: Dataset, settings: Arguments, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    given = settings(engine="local", processes=2, tars_per_task=1, max_reject_fraction=0)
    assert main(["launch", *as_flags(given)]) == 0
    assert run(cache=tmp_path / "one") == 0
    ours, theirs = (read_maps(tmp_path / name) for name in ("cache", "one"))
    assert ours.keys() == theirs.keys() and all((ours[key] == theirs[key]).all() for key in ours)
    assert "tars 0: done in" in caplog.text and "tars 1: done in" in caplog.text
    assert {path.suffix for path in (tmp_path / "cache" / ".logs").iterdir()} == {".log"}
    caplog.clear()
    assert main(["launch", *as_flags(given)]) == 0
    assert "0 images in 0 tars (2 stores are there)" in caplog.text


def test_logs_of_a_launch_do_not_follow_a_link(
    packed: Dataset, settings: Arguments, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    somebody = tmp_path / "somebody"
    somebody.mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / ".logs").symlink_to(somebody, target_is_directory=True)
    assert main(["launch", *as_flags(settings(engine="local"))]) == 1
    message = "it is a symbolic link, which is not followed here: expected a folder"
    assert f"{tmp_path / 'cache' / '.logs'}: {message}" in capsys.readouterr().err
    assert list(somebody.iterdir()) == []


@pytest.mark.slow
def test_a_local_task_that_fails_is_reported_and_the_others_go_on(
    packed: Dataset, settings: Arguments, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    packed.tar_path(0).unlink()
    for tars_per_task in (1, 2):  # the second time, only the broken one is left
        assert main(["launch", *as_flags(settings(engine="local", tars_per_task=tars_per_task))]) == 1
        assert f"1 of {3 - tars_per_task} tasks failed (SHARD=0)" in capsys.readouterr().err
    assert open_cache(tmp_path / "cache").shards() == ["train-000001.zarr.zip"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_local_processes_in_order(number: signal.Signals, settings: Arguments, tmp_path: Path) -> None:
    pack(tmp_path / "data", list(range(60)), max_rows=2)
    given = settings(engine="local", processes=2, tars_per_task=15, ensemble_size=8)
    command = [sys.executable, "-m", "extract", "launch", *as_flags(given)]
    # What runs the tests in the background may ignore SIGINT, and its children with it.
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while not list((tmp_path / "cache").glob("*.zarr.zip")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == (143 if number == signal.SIGTERM else 130), stderr
    cache = open_cache(tmp_path / "cache")
    assert 0 < len(cache.shards()) < 30
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [".logs", "cache.json", *cache.shards()]
