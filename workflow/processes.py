"""Commands in processes of their own, one or some at a time, which end with the process that waits for them."""

import logging
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cache_schema import hold_signals

logger = logging.getLogger(__name__)

_running: set["subprocess.Popen[bytes]"] = set()
_is_ending = threading.Event()
"""Set while commands are told to end: one that a thread is just starting is not among those that run yet."""


def run_module(module: str, *arguments: str | Path, quiet: bool = False, share: int = 1) -> None:
    """Run `python -m <module> …` from the repository's root, and log the command so that it can be repeated.

    Args:
        module: Name of a package with a `__main__`.
        *arguments: Its verb and flags.
        quiet: Drop what it prints on stdout.
        share: How many such commands run at once: it computes with one share of the cores (`OMP_NUM_THREADS`).

    Raises:
        RuntimeError: If it fails; its own message stands above.
    """
    command = ["-m", module, *map(str, arguments)]
    logger.info("python %s", shlex.join(command))
    stdout = subprocess.DEVNULL if quiet else None
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // share))} if share > 1 else {}
    process = None
    try:
        with hold_signals():  # a command that Ctrl-C and then SIGTERM interrupt may hang between the two
            process = subprocess.Popen([sys.executable, *command], stdout=stdout, env={**os.environ, **threads})
            _running.add(process)
        if _is_ending.is_set():
            process.terminate()
        status = process.wait()
    except BaseException:
        if process is not None:
            process.terminate()
            process.wait()
        raise
    finally:
        if process is not None:
            _running.discard(process)
    if status:
        raise RuntimeError(f"python -m {module} {arguments[0]} ended with status {status}, see above")


def do_at_once(works: Sequence[Callable[[], object]], num_jobs: int) -> None:
    """Do works that wait for processes of their own, some at a time. After a failure none begins, and it is raised.

    Those that have begun are waited for after a failure. Where this process is itself to end, by Ctrl-C or SIGTERM,
    they are told to end too.

    Args:
        works: What is to be done, in this order.
        num_jobs: How many at a time; one at a time they are done in this thread.
    """
    if num_jobs == 1:
        for work in works:
            work()
        return
    try:
        with ThreadPoolExecutor(num_jobs) as pool:
            _do_in(pool, works)
    finally:
        _is_ending.clear()


def _do_in(pool: ThreadPoolExecutor, works: Sequence[Callable[[], object]]) -> None:
    try:
        with hold_signals():  # the threads start here, and what they start is spared Ctrl-C as in `run_module`
            begun = [pool.submit(work) for work in works]
        for each in begun:
            each.result()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        if not isinstance(error, Exception):
            _is_ending.set()
            for process in [*_running]:
                process.terminate()
        raise  # whoever has the pool waits until they have ended
