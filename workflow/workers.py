"""Commands in processes that have their libraries loaded: all are forked from one process that has imported them once.

To import Lightning and diffusers takes 7 to 9 s of a core, which a run of ten commands would otherwise pay ten times.
The process that is forked (multiprocessing's fork server) has only imported: it has run no operation of torch and has
no threads, so that nothing is copied in the middle of something.
"""

import io
import logging
import multiprocessing
import os
import re
import resource
import runpy
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from cache_schema import fork_server, start_fork_server
from workflow import progress

logger = logging.getLogger(__name__)

STOP_SEC = 20.0
"""How long a command that is to end may take before it is killed."""
EXIT_SIGTERM = 143
KEPT_BYTES = 2**30
"""Memory that a command keeps for its next tensor, not giving it back: a small fit takes a fifth less time."""
_BAR = re.compile(r"\d+%\||\| 0/\?|\d/\d+ \[|\?it/s")
"""Progress bars, which are no news in a file."""
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Workers:
    """Runs commands as `python -m …` does, each in a process of its own.

    As a context it also ends the commands that run on Ctrl-C and on SIGTERM.

    Args:
        preload: Modules that the commands need, imported once.
        say: Hears each line that a command writes, in the thread that runs the command.
        tell: Hears how far a command is (done, total), in that thread too.
    """

    def __init__(self, preload: Sequence[str], say: Callable[[str], None], tell: progress.Listener) -> None:
        """Choose what is imported; nothing is started."""
        self._context = fork_server(preload)
        self._say, self._tell = say, tell
        self._method = multiprocessing.get_start_method()
        self._running: list[Any] = []
        self._is_stopped = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handlers = {signal.SIGINT: self._on_sigint, signal.SIGTERM: self._on_sigterm}
            self._handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        # Threads that wait for others sleep: two commands with two threads each on two cores otherwise spin.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # glibc otherwise gives every large tensor's memory back and takes it anew, page by page.
        os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(KEPT_BYTES))
        os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(KEPT_BYTES))
        start_fork_server()  # here, not with the first command: that may begin in a thread, which holds no signals
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def start(self) -> None:
        """Import the libraries; otherwise the first command waits for them."""
        self._run(_nothing, ())

    def run(self, module: str, *arguments: str | Path, quiet: bool = False, share: int = 1) -> None:
        """Run `python -m <module> …`, and log the command so that it can be repeated.

        Args:
            module: Name of a package with a `__main__`.
            *arguments: Its verb and flags.
            quiet: Changes nothing: what a command writes is heard by `say` alone. As `workflow.processes.run_module`.
            share: How many such commands run at once: it computes with one share of the cores.

        Raises:
            RuntimeError: If it fails.
            KeyboardInterrupt: If all are ended: in a thread too, which would otherwise begin its next command.
        """
        words = [*map(str, arguments)]
        num_threads = max(1, (os.cpu_count() or 1) // share) if share > 1 else None
        # With another number of threads sums are rounded in another order.
        setting = f"OMP_NUM_THREADS={num_threads} " if num_threads else ""
        logger.info("%spython -m %s %s", setting, module, shlex.join(words))
        status = self._run(_run_module, (module, words, num_threads))
        if self._is_stopped:
            raise KeyboardInterrupt
        if status:
            raise RuntimeError(f"python -m {module} {words[0]} ended with status {status}")

    def stop(self) -> None:
        """End all commands that run: in order, or after a while by force. None begins any more."""
        self._is_stopped = True
        for process in (running := [*self._running]):
            with suppress(ValueError):
                process.terminate()
        for process in running:
            with suppress(ValueError, AssertionError):
                process.join(STOP_SEC)
                if process.is_alive():
                    process.kill()

    def _run(self, target: Callable[..., None], arguments: tuple[Any, ...]) -> int:
        """Exit status of a function in a process of its own, whose output and progress are heard meanwhile."""
        if self._is_stopped:
            raise KeyboardInterrupt
        (output, its_output), (told, its_told) = (self._context.Pipe(duplex=False) for _ in range(2))
        process = self._context.Process(target=_begin, args=(target, arguments, its_output, its_told, self._method))
        try:
            process.start()
            self._running.append(process)
            if self._is_stopped:  # meanwhile
                process.terminate()
            its_output.close()
            its_told.close()
            self._listen(output, told)
            process.join()
            return process.exitcode or 0
        finally:
            with suppress(ValueError):
                self._running.remove(process)
            for end in (output, told):
                end.close()

    def _listen(self, output: Connection, told: Connection) -> None:
        lines = _Lines()
        ends: list[Any] = [output, told]
        while ends:
            for end in wait(ends):
                if end is output:
                    text = os.read(output.fileno(), 1 << 16)
                    for line in lines.add(text):
                        self._say(line)
                    if not text:
                        ends.remove(output)
                else:
                    try:
                        self._tell(*told.recv())
                    except EOFError:
                        ends.remove(told)

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        self.stop()
        raise KeyboardInterrupt

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self.stop()
        raise SystemExit(EXIT_SIGTERM)


class _Lines:
    """Bytes as lines, without what only moves a cursor: of a line that was written over, its last state."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, text: bytes) -> Iterator[str]:
        """The lines that are whole now; the end of the output, b"", makes the last one whole."""
        *whole, self._rest = (self._rest + (text or b"\n")).split(b"\n")
        for line in whole:
            shown = _ANSI.sub("", line.decode(errors="replace")).rstrip().rpartition("\r")[2].rstrip()
            if shown and not _BAR.search(shown):
                yield shown


def _begin(
    target: Callable[..., None], arguments: tuple[Any, ...], output: Connection, told: Connection, method: str
) -> None:
    """In the new process: all output goes to the one who has started it."""
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():
        return  # it was stopped while the libraries were imported: nobody waits for this command
    # Its own processes start in the platform's way. Through a fork server of its own each would import torch again.
    multiprocessing.set_start_method(method, force=True)
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    output.close()
    # New streams: the old ones may take what is a pipe now for a file.
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(number, "w", closefd=False)), "utf-8", "backslashreplace", line_buffering=True
        )
        for number in (1, 2)
    )
    progress.listen(lambda done, total: told.send((done, total)))
    try:
        target(*arguments)
    except SystemExit as error:
        if error.code:
            raise
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    sys.stdout.write(f"{sum(usage.ru_utime + usage.ru_stime for usage in usages):.0f} s of processor time\n")


def _run_module(module: str, words: Sequence[str], num_threads: int | None) -> None:
    if num_threads is not None:
        import torch  # loaded already, in the process that this one was forked from

        torch.set_num_threads(num_threads)
    sys.argv = ["", *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _nothing() -> None:
    """What a worker does that is to be there only."""
