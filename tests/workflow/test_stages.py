import os
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import pytest

from workflow import stages
from workflow.code_hash import ROOT
from workflow.stages import Stages

CONFIGS = ROOT / "demo" / "configs"


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that are run; each makes the outputs that its arguments name."""
    run: list[list[str]] = []

    def record(module: str, *arguments: str | Path, quiet: bool = False, share: int = 1) -> None:
        words = [module, *map(str, arguments)]
        run.append(words)
        named = dict(word.removeprefix("--").partition("=")[::2] for word in words if "=" in word)
        if words[1] == "fit":
            Path(named["out"]).mkdir(parents=True)
        if words[1] == "predict":
            Path(named["out"]).mkdir(parents=True, exist_ok=True)
            Path(named["out"], named["predictions.path"]).touch()

    monkeypatch.setattr(stages, "run_module", record)
    return run


class Ended:
    """A process that has ended."""

    def __init__(self, status: int) -> None:
        self._status = status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for nothing."""

    def wait(self) -> int:
        return self._status


def options(command: list[str], name: str) -> list[str]:
    return [word.partition("=")[2] for word in command if word.startswith(f"{name}=")]


def make(out: Path, **settings: Any) -> Stages:
    return Stages(out, out / "data", out / "cache", configs=CONFIGS, **settings)


def test_each_seed_has_detectors_and_predictions_of_its_own(commands: list[list[str]], tmp_path: Path) -> None:
    made = make(tmp_path, seeds=(0, 1, 2), overrides=("--trainer.max_epochs=7",))
    made.make_detectors("data")
    fits = [command for command in commands if command[:2] == ["train", "fit"]]
    assert sorted(Path(*options(c, "--out")).name for c in fits) == sorted(
        f"{name}-seed-{seed}" for name in stages.DETECTORS for seed in range(3)
    )
    for command in fits:
        assert options(command, "--out")[0].endswith(f"-seed-{options(command, '--seed_everything')[0]}")
        assert command[-1] == "--trainer.max_epochs=7"
    made.evaluate("full:permuted_maps")
    evaluation = commands[-1]
    assert evaluation[-2:] == ["--differences", "full:permuted_maps"]
    for name in stages.CONTROLS:
        read = [word.split("=")[1] for word in evaluation if word.startswith(f"{name}=")]
        assert read == [str(path) for path in made.files(name)] and len(read) == 3
        own = [c for c in commands if str(CONFIGS / f"{name}.yaml") in c]
        assert [c[1] for c in own].count("fit") == [c[1] for c in own].count("predict") == 3  # trained as it is scored
    assert made.count_fits_left() == 0


def test_some_kinds_alone_are_made_and_evaluated(commands: list[list[str]], tmp_path: Path) -> None:
    made = make(tmp_path, kinds=("full", "permuted_maps"))
    assert made.count_fits_left() == 2
    made.make_detectors("data")
    made.evaluate()
    assert {path.name for path in made.detectors.iterdir()} == {"full", "permuted_maps"}
    read = {word.partition("=")[0] for word in commands[-1] if word.endswith(".parquet")}
    assert read == {"full", "permuted_maps", "mean_lare", "gradient_energy"}


def test_a_fit_that_was_cut_short_goes_on(commands: list[list[str]], tmp_path: Path) -> None:
    made = make(tmp_path, seeds=(0, 1), kinds=("full",))
    record, last = stages.run_module, tmp_path / "detectors" / "full-seed-1" / "checkpoints" / "last.ckpt"

    def cut_short(module: str, *arguments: str, **how: Any) -> None:
        if arguments[0] == "fit" and "full-seed-1" in " ".join(arguments):
            last.parent.mkdir(parents=True)
            last.touch()
            raise RuntimeError("killed")
        record(module, *arguments, **how)

    made._run = cut_short
    with pytest.raises(RuntimeError, match="killed"):
        made.make_detectors("data")
    assert made.count_fits_left() == 1
    commands.clear()
    made._run = lambda *arguments, **how: commands.append([*map(str, arguments)])
    made.make_detectors("data")
    assert [c[1] for c in commands] == ["fit", "predict"] and f"--ckpt_path={last}" in commands[0]


def test_only_seed_is_not_in_the_names(commands: list[list[str]], tmp_path: Path) -> None:
    made = make(tmp_path)
    made.make_detectors("data")
    assert {path.name for path in made.detectors.iterdir()} == set(stages.DETECTORS)
    assert made.files("full") == [tmp_path / "predictions" / "test" / "full.parquet"]
    commands.clear()
    made.make_detectors("data")
    assert commands == []
    made.make_detectors("other data")
    assert len(commands) == 2 * len(stages.DETECTORS)  # a fit and a prediction each


def test_readings_can_be_those_of_another_dataset(tmp_path: Path) -> None:
    plain = make(tmp_path / "plain")
    other = make(tmp_path / "other", readings=plain.readings)
    for split in ("validation", "test"):
        assert other.files("mean_lare", split) == plain.files("mean_lare", split)
    assert other.files("full") != plain.files("full")


def test_detectors_that_are_trained_at_once_share_the_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    threads: dict[str, set[str | None]] = {}

    def record(command: list[str], *, env: dict[str, str], **_: Any) -> Ended:
        threads.setdefault(command[3], set()).add(env.get("OMP_NUM_THREADS"))
        return Ended(0)

    monkeypatch.setattr(subprocess, "Popen", record)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    make(tmp_path / "two", num_jobs=2).make_detectors("data")
    assert threads == {"fit": {"4"}, "predict": {"4"}}
    threads.clear()
    make(tmp_path / "one").make_detectors("data")
    assert threads == {"fit": {None}, "predict": {None}}


def test_detector_that_fails_ends_the_run_before_others_begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: list[str] = []

    def fail(command: list[str], **_: Any) -> Ended:
        begun.append(command[3])
        time.sleep(0.05)  # far longer than cancelling the others takes
        return Ended(3)

    monkeypatch.setattr(subprocess, "Popen", fail)
    with pytest.raises(RuntimeError, match="python -m train fit ended with status 3"):
        make(tmp_path, num_jobs=2, seeds=range(20)).make_detectors("data")
    assert len(begun) < 10
