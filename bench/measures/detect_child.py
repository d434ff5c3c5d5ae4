"""`python -m bench.measures.detect_child FOLDER DETECTOR OUT`: asks about a folder, then prints its peak memory."""

import contextlib
import io
import sys

from bench.measures.memory_child import peak_bytes
from detect.__main__ import main


def ask(folder: str, detector: str, out: str) -> int:
    """Ask about a folder, and write the most bytes that this process held; gives the command's exit status."""
    with contextlib.redirect_stdout(io.StringIO()):
        status = main(["run", folder, f"--detector={detector}", f"--out={out}", "--device=cpu"])
    sys.stdout.write(f"{peak_bytes(num_workers=0)}\n")
    return status


if __name__ == "__main__":
    sys.exit(ask(*sys.argv[1:]))
