"""A command on a real pseudo-terminal."""

import codecs
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from contextlib import suppress

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class OnTerminal:
    """Runs `python -m demo …` as the foreground of a terminal of its own.

    Args:
        arguments: After `python -m demo`.
        columns: Width of the terminal.
    """

    def __init__(self, arguments: Sequence[str], columns: int = 100) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.text, self._decoder = "", codecs.getincrementaldecoder("utf-8")()

    def read(self, until: Callable[[str], bool] = lambda _: False) -> str:
        """All that is written until the end, or until it is enough."""
        with suppress(OSError):  # Linux's end of a terminal
            while not until(self.text) and (part := os.read(self.master, 1 << 16)):
                self.text += self._decoder.decode(part)
        return self.text

    def press_ctrl_c(self) -> None:
        """As a person does: the terminal signals all processes in front."""
        os.write(self.master, b"\x03")

    def wait(self) -> int:
        """Read the rest, and return the exit status."""
        self.read()
        status = self.process.wait(60)
        os.close(self.master)
        return status

    @property
    def lines(self) -> list[str]:
        """What stands on the terminal at the end: the last state of each line, without colours."""
        rows, row = [""], 0
        for piece in re.split(r"(\n|\r|\x1b\[\d*A|\x1b\[2K)", self.text):
            if piece == "\n":
                row += 1
                rows += [""] * (row + 1 - len(rows))
            elif piece.endswith("A") and piece.startswith("\x1b["):
                row = max(0, row - int(piece[2:-1] or 1))
            elif piece == "\x1b[2K":
                rows[row] = ""
            elif piece != "\r":
                rows[row] += ANSI.sub("", piece)
        return [line.rstrip() for line in rows]
