"""A command as a process: one sentence on stderr for what went wrong, and an exit status; text in any encoding.

Every package's `__main__` runs its work through `run_program`. `LARE_DEBUG=1` shows the traceback as well.
"""

import locale
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from cache_schema.addresses import is_address
from cache_schema.errors import CacheError, StorageError, WorkerLost
from cache_schema.shown import MAX_SENTENCE, shown, shown_lines

EXIT_ERROR, EXIT_WRONG_SETTINGS, EXIT_SIGINT, EXIT_PIPE, EXIT_SIGTERM = 1, 2, 130, 141, 143
DEBUG = "LARE_DEBUG"
_OF_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process \d+\.\n.*\n[\w.]*\1: (.*?)\s*", re.DOTALL)
"""torch's words for an error of a process that reads images: its name, the traceback, and the error's own words."""
OUR_FOLDER = Path(__file__).resolve().parents[1]
_NAMES_OF_LIBRARIES = {"sklearn": "scikit-learn", "skimage": "scikit-image", "cv2": "opencv-python-headless"}

_OF_DEVICES = ("OutOfMemoryError", "AcceleratorError", "RuntimeError")
"""What torch raises where a GPU's memory is full: by its allocator, a kernel's start, or a library's."""
_DEVICE_IS_FULL = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC",
)
_NO_UTF_8 = "its name is not UTF-8, which settings cannot hold: rename it, or make a link to it (ln -s) and name that"

T = TypeVar("T")


def run_as_process(main: Callable[[], int]) -> NoReturn:
    """End this process with a command's exit status; SIGTERM ends it in order, with 143."""
    read_files_as_utf8()
    keep_imports_ours()
    exit_on_sigterm()
    sys.exit(main())


def read_files_as_utf8() -> None:
    """Start this process again in Python's UTF-8 mode, where the locale is another one (`LC_ALL=C PYTHONUTF8=0`).

    Libraries open files in the locale's encoding, and fail at names and settings that it lacks.
    """
    if sys.flags.utf8_mode or locale.getencoding().lower() in ("utf-8", "utf8"):
        return
    os.environ["PYTHONUTF8"] = "1"  # also for the processes that this one starts
    os.environ.setdefault("PYTHONIOENCODING", f"{sys.stdout.encoding}:backslashreplace")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def keep_imports_ours() -> None:
    """Let no process that this one starts import from the working directory, unless this one was told to (`python -m`).

    A folder of strangers may hold a `torch.py`. Python would find it first: in a worker of multiprocessing, and in a
    child that `python -m` begins.
    """
    if sys.path[:1] not in ([""], [os.getcwd()]):
        os.environ["PYTHONSAFEPATH"] = "1"


class ShownFormatter(logging.Formatter):
    """Of the log: what strangers chose moves no cursor (`cache_schema.shown`)."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return shown_lines(super().format(record))


def start_logging(form: str = "%(asctime)s %(message)s") -> None:
    """Let the log go to the standard error, where it goes nowhere yet."""
    handler = logging.StreamHandler()
    handler.setFormatter(ShownFormatter(form))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def exit_on_sigterm() -> None:
    """Let SIGTERM end this process in order, with exit status 143."""
    signal.signal(signal.SIGTERM, _exit_on_sigterm)


def run_program(work: Callable[[], int]) -> int:
    """Do a command's work. What goes wrong is a sentence on stderr.

    Args:
        work: Gives the exit status.

    Returns:
        The work's exit status; 1 for what is wrong with data, files or the machine; 130 after Ctrl-C; 141 if nobody
        reads the output any more; 143 after SIGTERM.

    Raises:
        SystemExit: What the work raises itself, for example for wrong settings.
    """
    soften_output()
    try:
        status = work()
        sys.stdout.flush()
        return status
    except BaseException as error:
        stopped = _is_lightnings_sigterm(error) or isinstance(error.__context__, KeyboardInterrupt)
        if isinstance(error, SystemExit) and not stopped:
            raise
        return _tell(error)


def soften_output() -> None:
    """Write what the terminal's encoding lacks as an escape: output is never a reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # not there where a test has put a stream of its own
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _tell(error: BaseException) -> int:
    if isinstance(error, BrokenPipeError):
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    if os.environ.get(DEBUG):
        _print_traceback(error)
    if _is_lightnings_sigterm(error):
        sys.stderr.write("ended by SIGTERM\n")
        return EXIT_SIGTERM
    if isinstance(error, KeyboardInterrupt | SystemExit):
        sys.stderr.write("stopped by Ctrl-C\n")
        return EXIT_SIGINT
    sentence = explain(error)
    if sentence is None:
        _print_traceback(error)
        words = shown(f"{type(error).__name__}: {error}", MAX_SENTENCE)
        sys.stderr.write(f"error: this is a bug in lare, please report it: {words}\n")
        return EXIT_ERROR
    sys.stderr.write(f"error: {shown_lines(sentence)}\n")
    if isinstance(error, subprocess.CalledProcessError) and error.returncode in (EXIT_SIGINT, EXIT_SIGTERM):
        return error.returncode
    return EXIT_ERROR


def _print_traceback(error: BaseException) -> None:
    sys.stderr.write(shown_lines("".join(traceback.format_exception(error))))


def _is_lightnings_sigterm(error: BaseException) -> bool:
    # A SystemExit without a status. Importing its class takes seconds.
    return type(error).__name__ == "SIGTERMException"


def explain(error: BaseException) -> str | None:
    """What went wrong, for a person who has not written this code; None where it is our bug."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, CacheError | StorageError | WorkerLost):
        of_worker = _OF_WORKER.fullmatch(str(error))
        return of_worker[2] if of_worker else str(error)
    if isinstance(error, subprocess.CalledProcessError):
        return f"a command ended with status {error.returncode}, see above: {shlex.join(map(str, error.cmd))}"
    if isinstance(error, OSError):
        return _explain_os_error(error)
    if isinstance(error, ImportError):
        name = (error.name or "").partition(".")[0]
        library = _NAMES_OF_LIBRARIES.get(name, name)
        return f"{text}. Install it first: pip install {library}" if name else text
    if type(error).__name__ in _OF_DEVICES and any(words in text for words in _DEVICE_IS_FULL):
        return (
            "the GPU has not enough memory: try a smaller --batch_size (in training and prediction --data.batch_size), "
            f"and see with nvidia-smi what else is on it ({text[:200]})"
        )
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"there is not enough memory: try a smaller --batch_size, or fewer --num_workers ({text[:200]})"
    if isinstance(error, RuntimeError) and text.startswith("DataLoader worker"):
        # torch's words for a worker that did not end by itself; it raises them wherever the main process just is.
        is_shared = "bus error" in text.lower()  # images travel through shared memory, of which containers have 64 MB
        reason = (
            "as /dev/shm is full: give a container more of it (--shm-size=8g), or try"
            if is_shared
            else "most often for lack of memory: try"
        )
        return (
            f"{text.strip(' .')}. A process that reads images died, {reason} fewer --num_workers. "
            "What was published stays, and the same command goes on from there."
        )
    if not isinstance(error, ValueError | RuntimeError) and type(error).__name__ != "MisconfigurationException":
        return None
    if _is_ours(error):
        return text
    if isinstance(
        error.__cause__, CacheError | StorageError | OSError | ValueError
    ):  # a library's sentence around one of ours
        return explain(error.__cause__)
    return f"{text} ({DEBUG}=1 shows where)"


def _explain_os_error(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    other = f" → {error.filename2}" if error.filename2 is not None else ""
    return f"{error.filename}{other}: {error.strerror.lower()}"


def _is_ours(error: BaseException) -> bool:
    """Whether our own code has raised it, and so has chosen its words."""
    frames = traceback.extract_tb(error.__traceback__)
    file = Path(frames[-1].filename) if frames else Path()
    return file.is_relative_to(OUR_FOLDER) and "site-packages" not in file.relative_to(OUR_FOLDER).parts


def _exit_on_sigterm(*_: object) -> NoReturn:
    # An exception, so that temporary files are removed and workers ended on the way out. A batch system signals the
    # workers too: their deaths would make the DataLoader raise an error of its own. The handlers are replaced by one
    # that does nothing: Python complains about a signal that came in under a handler and is then to be ignored.
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    raise SystemExit(EXIT_SIGTERM)


class OneSentence:
    """Before a parser class: wrong settings end the process with one sentence and status 2, without a page of usage."""

    def error(self, message: str, *_: object) -> NoReturn:
        """Write the message and exit with 2."""
        soften_output()
        sys.stderr.write(f"error: {shown_lines(shorten(message))}\n")
        raise SystemExit(EXIT_WRONG_SETTINGS)


def shorten(message: str) -> str:
    """A parser's message as a sentence: "--timestep is abc: expected int"."""
    text = " ".join(message.split())
    if "surrogates not allowed" in text:
        text = re.sub(r"'utf-8' codec can't encode .*surrogates not allowed", _NO_UTF_8, text)
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text).replace("NoneType", "null").replace("typing.", "")
    key = re.match(r'Parser key "([^"]+)": (.*)', text)
    if key is None:
        start, required, names = text.partition("the following arguments are required:")
        return start + required + re.sub(r"(?<![\w.-])(?:\w+\.)?(?=\w)", "--", names) if required else text
    expected = list(dict.fromkeys(re.findall(r"Expected an? (.+?)(?:\.? Got value|\.? - |\.? Given |$)", key[2])))
    given = re.search(r"(?:Got|Given) value: (.*)", key[2])
    if not expected:
        return f"--{key[1]}: {key[2]}"
    wanted = re.sub(r"Literal\[(.*?)\]", r"one of \1", " or ".join(item.strip() for item in expected))
    return f"--{key[1]} is {given[1] if given else 'something else'}: expected {wanted}"


def expand_home(value: T, *, addresses: bool = False) -> T:
    """A setting's value, or a collection of such, with `~` at the start of texts and paths put in full.

    Args:
        value: The value.
        addresses: Whether it may name a place in object storage. Else it would become a folder called `s3:`.

    Raises:
        ValueError: If it names such a place, and may not.
    """
    return cast(T, _expand(value, addresses))


def _expand(value: Any, addresses: bool) -> Any:
    if isinstance(value, str | Path) and not addresses and is_address(value):
        raise ValueError(f"{value} is in object storage: this setting takes a folder or file of this machine")
    if isinstance(value, str):
        return os.path.expanduser(value) if value == "~" or value.startswith("~/") else value
    if isinstance(value, Path):
        return value.expanduser() if value.parts[:1] == ("~",) else value
    if isinstance(value, dict):
        return {name: _expand(item, addresses) for name, item in value.items()}
    return type(value)(_expand(item, addresses) for item in value) if type(value) in (list, tuple) else value
