"""The same function over many tars, in a bounded number of processes."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from types import TracebackType
from typing import Any, TypeVar

from tqdm import tqdm

from cache_schema.errors import WorkerLost

EXIT_SIGTERM = 143

_is_at_work = False
"""Whether this process, a worker, is within a task."""
_is_told_to_end = False
"""Whether SIGTERM has come to this process, a worker."""

T = TypeVar("T")
TaskArguments = tuple[Any, ...]


def run_tasks(
    function: Callable[..., T], tasks: Sequence[TaskArguments], num_workers: int, unit: str
) -> Iterator[T | Exception]:
    """Call a function once a task and yield what it returned or raised, in the order of the tasks.

    Progress is shown on stderr if that is a terminal. With one worker all is done in this process. Whoever stops before
    the last outcome, by Ctrl-C too, ends the workers.

    Args:
        function: A function of a module, which other processes can find by its name.
        tasks: Arguments of each call, picklable.
        num_workers: Processes at once.
        unit: What a task is called in the progress bar.

    Yields:
        The result of each task; its exception; or a WorkerLost for every task that was not finished when a worker
        process was killed, for example by the system for want of memory.
    """
    num_workers = min(num_workers, len(tasks))
    with tqdm(total=len(tasks), unit=unit, disable=None) as bar:
        for outcome in _run_here(function, tasks) if num_workers <= 1 else _run_pool(function, tasks, num_workers):
            bar.update()
            yield outcome


def _run_here(function: Callable[..., T], tasks: Sequence[TaskArguments]) -> Iterator[T | Exception]:
    for task in tasks:
        try:
            outcome: T | Exception = function(*task)
        except Exception as error:
            outcome = error
        yield outcome


def _run_pool(function: Callable[..., T], tasks: Sequence[TaskArguments], num_workers: int) -> Iterator[T | Exception]:
    # Spawned, not forked: zarr keeps a thread of its own, and a fork would copy its locks as they are.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_prepare_worker)
    try:
        resource_tracker.ensure_running()  # it would let signals through again
        with hold_signals():  # the workers start here, and keep what is held: this process ends them
            futures: list[Future[T]] = [pool.submit(_call, function, task) for task in tasks]
        futures.reverse()
        while futures:
            # Popped: a future that is kept would keep its result.
            outcome = _outcome(futures.pop())
            yield outcome
    except BaseException:
        for worker in [*(pool._processes or {}).values()]:
            worker.terminate()  # it would otherwise be waited for until its tar is done
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _outcome(future: Future[T]) -> T | Exception:
    try:
        return future.result()
    except BrokenProcessPool:
        return WorkerLost(
            "not finished: a worker process was killed, perhaps for want of memory. Run again with fewer --num_workers."
        )
    except Exception as error:
        return error


def _call(function: Callable[..., T], task: TaskArguments) -> T:
    global _is_at_work
    try:
        _is_at_work = True
        try:
            if _is_told_to_end:
                sys.exit(EXIT_SIGTERM)
            return function(*task)
        finally:
            _is_at_work = False  # here, where a signal that comes in just before is still caught below
    except SystemExit as error:
        os._exit(int(error.code or 0))  # the pool would take it for the task's result and go on with the next


def _prepare_worker() -> None:
    """Let a worker end in order, with temporary files removed, and never outlive the command."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_worker)
    end_with_parent()


def _end_worker(*_: object) -> None:
    # Outside of a task it may be sending an outcome: the command would wait for the rest of it.
    global _is_told_to_end
    _is_told_to_end = True
    if _is_at_work:
        signal.signal(signal.SIGTERM, lambda *_: None)  # it may come once more, and what is open is closed in peace
        sys.exit(EXIT_SIGTERM)
    signal.alarm(1)  # the end of a worker that gets no task any more; Python 3.12 on tells it nothing


@contextmanager
def hold_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until this is done. Programs that are started here are spared Ctrl-C for good.

    Not for a plain fork: the forked process would go on holding both.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = {number: handler for number, handler in handlers.items() if callable(handler)}
    if threading.current_thread() is not threading.main_thread() or not held:
        yield
        return
    came: list[int] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        for number in held:
            signal.signal(number, lambda number, _: came.append(number))
        # Blocked too, for the processes that are started. Blocking alone is not enough: another thread of a library
        # takes the signal, and Python answers it in this one.
        signal.pthread_sigmask(signal.SIG_BLOCK, held.keys() & {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in held.items():
            signal.signal(number, handler)
        if came:
            held[signal.Signals(came[0])](came[0], None)


def fork_server(modules: Sequence[str]) -> ForkServerContext:
    """How to start processes that are forked from one that has only imported some modules, and has no threads.

    That process is started with the first of them, and serves this process for good: modules that are asked for later
    are not loaded in it.

    Args:
        modules: Names of modules that begin no thread while they are imported.
    """
    # On some machines pyarrow's allocator begins threads, and a process with threads is not to be forked.
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules])
    return context


def start_fork_server() -> None:
    """Start the process of `fork_server` now, and leave Ctrl-C to this one, also while that one imports its modules.

    Processes that are forked from it are spared Ctrl-C too: this one ends them.
    """
    resource_tracker.ensure_running()  # it would let signals through again
    with hold_signals():
        forkserver.ensure_running()


def allow_lost_reader(_worker: int) -> None:
    """Have a DataLoader's worker say nothing when its reader ends while a batch is handed over (`worker_init_fn`).

    A batch's memory is handed over by a thread of Python's own, which prints a traceback of every connection that
    breaks, and serves the next. When a command is told to end, a broken one is no fault.
    """
    show = sys.excepthook

    def show_faults(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, ConnectionError | EOFError):
            show(kind, error, trace)

    sys.excepthook = show_faults


def end_with_parent() -> None:
    """Have this worker process end when its parent has, however that ended: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(EXIT_SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
