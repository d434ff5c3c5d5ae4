"""The checks of a GPU, tried on the CPU at tiny size: each has its line, and promises that need no GPU hold."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.gpu import __main__ as command
from bench.gpu.checks import CHECKS, select_checks
from bench.gpu.outcome import Outcome, format_report, judged
from bench.gpu.setting import GpuCheckConfig, Setting
from bench.machine import describe_machine
from workflow.code_hash import ROOT

TOY = str(ROOT / "demo" / "models" / "toy-a")


def make_setting(folder: Path, **changes: Any) -> Setting:
    config = GpuCheckConfig(device="cpu", size="tiny", toy_model=TOY, **changes)
    return Setting(config, torch.device("cpu"), folder)


@pytest.mark.parametrize("name", ["machine", "transfer", "syncs"])
def test_what_needs_no_model_holds_or_says_that_it_needs_a_gpu(name: str, tmp_path: Path) -> None:
    outcomes = CHECKS[name](make_setting(tmp_path))
    assert outcomes and {each.verdict for each in outcomes} <= {"holds", "needs CUDA"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in CHECKS if name not in ("machine", "transfer", "syncs")])
def test_every_check_runs_and_its_promises_hold(name: str, tmp_path: Path) -> None:
    outcomes = CHECKS[name](make_setting(tmp_path))
    assert outcomes and not [each.line for each in outcomes if each.verdict == "FAILS"]
    assert all(each.figure for each in outcomes)


def test_a_wrong_batch_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.gpu import transfer

    class Lossy(transfer.Transfer):
        """Gives back what is not what it got."""

        def to_host(self, tensor: torch.Tensor) -> Any:
            return super().to_host(tensor + 1)

    monkeypatch.setattr(transfer, "Transfer", Lossy)
    (found,) = transfer.check_transfer(make_setting(tmp_path))
    assert found == Outcome("transfer", "20 of 20 batches differ from the host's", "FAILS")


def test_the_command_writes_a_table_and_an_error_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Setting) -> list[Outcome]:
        raise RuntimeError("no kernel image\nis available")

    monkeypatch.setitem(CHECKS, "cpu", fail)
    out = tmp_path / "out" / "gpu.md"
    settings = ["--device=cpu", "--size=tiny", f"--toy_model={TOY}", f"--out={out}"]
    assert command.main([*settings, "--checks=transfer,cpu"]) == 1
    text = out.read_text()
    assert "| transfer | holds | 0 of 20 batches differ from the host's |" in text
    assert "| cpu | FAILS | RuntimeError: no kernel image is available |" in text
    assert "no GPU: the figures are of this machine's CPU" in text
    assert re.search(r"transfer +holds +0 of 20", capsys.readouterr().out)
    assert command.main([*settings, "--checks=transfer", "--minutes=1e-9"]) == 0
    assert "| transfer | left out |" in out.read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_nothing_is_measured_and_this_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main([]) == 0
    assert "nothing is measured" in capsys.readouterr().out
    assert not [*tmp_path.iterdir()]
    with pytest.raises(SystemExit, match="2"):
        command.main(["--device=cuda"])
    assert "torch finds no GPU" in capsys.readouterr().err


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="checks names speeed: expected all, or of machine, transfer"):
        select_checks("speeed")
    assert select_checks("twice,machine") == ["machine", "twice"]
    with pytest.raises(ValueError, match="minutes is 0"):
        GpuCheckConfig(minutes=0)


def test_the_report_names_the_card() -> None:
    machine = describe_machine(torch.device("cpu")) | {"gpu": {"name": "Some GPU", "cuda": "13.0"}}
    text = format_report(machine, [judged("a", "max |Δ| = 1", True)], "make gpu-check")
    assert text.startswith("# GPU check: Some GPU\n")
    assert "| a | holds | max /Δ/ = 1 |" in text
