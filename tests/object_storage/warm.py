"""Commands in processes of their own, forked from one that has loaded what they need: cheap enough to kill many.

As a program it is that process. It has asked no object storage itself, so that what it forks can.
"""

import json
import os
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

EXIT_KILLED = -signal.SIGKILL


class Warm:
    """The process that forks commands of `python -m extract`, as a context. It has this process's environment."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.object_storage.warm"]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._told()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def run(self, arguments: list[str], kill_after_sec: float | None = None) -> int:
        """Run a command, perhaps until it is killed with all that it has begun; its exit status.

        Args:
            arguments: Of `python -m extract`.
            kill_after_sec: When; a command that ends sooner is not killed.
        """
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(arguments) + "\n")
        self._server.stdin.flush()
        pid = self._told()
        if kill_after_sec is not None:
            time.sleep(kill_after_sec)
            # Not waited for by its parent before the word "end": the number is still its own.
            os.killpg(pid, signal.SIGKILL)
        self._server.stdin.write("end\n")
        self._server.stdin.flush()
        return self._told()

    def _told(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())


def serve() -> None:
    """Fork a command for each line; tell its number, and behind the next line how it ended."""
    import extract.run.job  # noqa: F401 with torch and diffusers
    from extract.__main__ import main

    sys.stdout.write("0\n")
    sys.stdout.flush()
    while line := sys.stdin.readline():
        pid = os.fork()
        if not pid:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os._exit(main(json.loads(line)))
        while os.getpgid(pid) != pid:
            time.sleep(0.001)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        sys.stdin.readline()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
