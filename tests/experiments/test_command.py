import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cache_schema import CacheError
from experiments.__main__ import COMMANDS
from experiments.questions import FROM_CACHES, QUESTIONS
from experiments.study.config import StudyConfig
from workflow.code_hash import ROOT
from workflow.command import Command, run_command


@dataclass(frozen=True)
class Inner:
    size: int = 1


@dataclass(frozen=True)
class Config:
    number: int
    inner: Inner = field(default_factory=Inner)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("number is negative")


CONFIGS = sorted((ROOT / "experiments" / "configs").glob("*.yaml"))


def broken() -> Command:
    raise AssertionError("only the command that is asked for is loaded")


def run(args: list[str], error: Exception | None = None) -> tuple[int, list[Config]]:
    given: list[Config] = []

    def work(config: Config) -> None:
        given.append(config)
        if error:
            raise error

    return run_command("test", {"one": lambda: Command(Config, work, "Does it."), "two": broken}, args), given


def test_settings_come_from_file_and_flags(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("number: 2\nnames: [a, b]\ninner: {size: 3}\n")
    assert run(["one", f"--config={file}", "--number=4"]) == (0, [Config(4, Inner(3), ("a", "b"))])


def test_wrong_settings_end_with_2_and_failing_work_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["one", "--number=-1"], ["one"], ["one", "--number=1", "--unknown=1"], ["three"], []):
        with pytest.raises(SystemExit) as ended:
            run(args)
        assert ended.value.code == 2
    assert "number is negative" in capsys.readouterr().err
    assert run(["one", "--number=1"], CacheError("no cache"))[0] == 1
    assert "error: no cache" in capsys.readouterr().err


def test_help_lists_all_commands_and_loads_none() -> None:
    program = (
        "import sys, experiments.__main__ as m\ntry: m.main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"toy-benchmark", "caches", "ablate", *QUESTIONS} <= set(COMMANDS) and set(FROM_CACHES) < set(QUESTIONS)
    assert all(f"    {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_shipped_studies_can_be_parsed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    given: list[StudyConfig] = []
    command = Command(StudyConfig, given.append, None)
    assert run_command("test", {"one": lambda: command}, ["one", f"--config={file}", "--num_seeds=7"]) == 0
    assert given[0].num_seeds == 7 and given[0].extract_config.is_file()
