"""What a person sees of a command that fails, and its exit status."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from cache_schema import CacheError, ShardMissing, WorkerLost
from cache_schema.program import expand_home, explain, run_program, shorten, soften_output


def fail(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


class OutOfMemoryError(RuntimeError):
    """Named as torch's, which is a RuntimeError too."""


class SIGTERMException(SystemExit):
    """Named as Lightning's, and as that one without a status."""


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (CacheError("no cache"), 1, "error: no cache"),
        (WorkerLost("a worker was killed"), 1, "error: a worker was killed"),
        (ShardMissing("no store"), 1, "error: no store"),
        (ValueError("size is 0"), 1, "error: size is 0"),
        (FileExistsError("it is there already"), 1, "error: it is there already"),
        (FileNotFoundError(2, "No such file or directory", "a b"), 1, "error: a b: no such file or directory"),
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device"),
        (ModuleNotFoundError("No module named 'skimage'", name="skimage"), 1, "pip install scikit-image"),
        (MemoryError(), 1, "not enough memory"),
        (
            OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 10 GiB"),
            1,
            "the GPU has not enough memory: try a smaller --batch_size (in training and prediction --data.batch_size)",
        ),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), 1, "smaller --batch_size"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), 1, "smaller --batch_size"),
        (
            RuntimeError("DataLoader worker (pid 1) is killed."),
            1,
            "most often for lack of memory: try fewer --num_workers",
        ),
        (RuntimeError("DataLoader worker (pid 1) is killed by signal: Bus error. "), 1, "--shm-size=8g), or try fewer"),
        (subprocess.CalledProcessError(5, ["python", "a b"]), 1, "ended with status 5, see above: python 'a b'"),
        (subprocess.CalledProcessError(143, ["python"]), 143, "status 143"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (SIGTERMException(), 143, "ended by SIGTERM"),
    ],
)
def test_a_failure_is_a_sentence_and_a_status(
    error: BaseException, status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(fail(error)) == status
    text = capsys.readouterr().err
    assert sentence in text and "Traceback" not in text and len(text.splitlines()) == 1


@pytest.mark.parametrize("error", [AssertionError("never"), TypeError("a bug"), KeyError("x"), IndexError("y")])
def test_our_bugs_show_where_they_are(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(fail(error)) == 1
    text = capsys.readouterr().err
    assert "Traceback" in text and "bug in lare" in text.splitlines()[-1]


def test_debugging_shows_where_a_mistake_was_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LARE_DEBUG", "1")
    assert run_program(fail(ValueError("size is 0"))) == 1
    text = capsys.readouterr().err
    assert "Traceback" in text and text.splitlines()[-1] == "error: size is 0"


def test_what_ends_a_process_on_purpose_does_so() -> None:
    with pytest.raises(SystemExit) as ended:
        run_program(fail(SystemExit(3)))
    assert ended.value.code == 3
    assert run_program(lambda: 3) == 3


def test_a_library_that_turns_ctrl_c_into_an_exit_is_still_130(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    assert run_program(work) == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"


def test_a_librarys_sentence_around_ours_is_left_out() -> None:
    foreign = ValueError("Call to compute_fn failed: no dataset")
    assert "LARE_DEBUG" in str(explain(foreign))
    foreign.__cause__ = CacheError("no dataset")
    assert explain(foreign) == "no dataset"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_text_that_the_terminal_lacks_is_escaped(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    soften_output()
    sys.stdout.write("LaRE² → größe \udcff")
    sys.stdout.flush()
    assert b"\\u2192" in raw.getvalue() and b"\\udcff" in raw.getvalue()


def test_output_that_nobody_reads_any_more_is_no_error() -> None:
    program = "import sys\nfrom cache_schema.program import run_program\ndef work():\n"
    program += "    for _ in range(100000): sys.stdout.write('a line\\n')\n    return 0\nsys.exit(run_program(work))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_files_are_read_as_utf8_in_any_locale(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import locale, sys\nfrom cache_schema.program import run_as_process\n"
        "def main():\n    sys.stdout.write(f'{open(sys.argv[1]).read()}²')\n    return 7\n"
        "if __name__ == '__main__':\n    run_as_process(main)\n",
        encoding="utf-8",
    )
    file = tmp_path / "größe"
    file.write_text("×", encoding="utf-8")
    root = str(Path(__file__).parents[2])
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, program, file], env=environment, capture_output=True, encoding="ascii", check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "\\xd7\\xb2", "")


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("Parser key \"timestep\":\n  Expected a <class 'int'>. Got value: abc", "--timestep is abc: expected int"),
        (
            "Parser key \"method\":\n  Expected a typing.Literal['lare', 'dire']. Got value: bad",
            "--method is bad: expected one of 'lare', 'dire'",
        ),
        ("the following arguments are required: run.data", "the following arguments are required: --data"),
        ("the following arguments are required: --cache", "the following arguments are required: --cache"),
        ("the following arguments are required: run.a, run.b", "the following arguments are required: --a, --b"),
        ('Parser key "config": File does not exist', "--config: File does not exist"),
    ],
)
def test_parsers_messages_become_sentences(message: str, sentence: str) -> None:
    assert shorten(message) == sentence


def test_home_is_put_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    given = {"a": "~/x", "b": [Path("~/y"), 3], "c": ("~", "a~b", "~other/x"), "d": None}
    assert expand_home(given) == {
        "a": "/home/me/x",
        "b": [Path("/home/me/y"), 3],
        "c": ("/home/me", "a~b", "~other/x"),
        "d": None,
    }
    other = SimpleNamespace()
    assert expand_home(other) is other
