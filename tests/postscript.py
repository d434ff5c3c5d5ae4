"""PostScript, which Pillow has Ghostscript run, and a Ghostscript that leaves a mark when it is started."""

from pathlib import Path

import pytest
from PIL import EpsImagePlugin

COLOURS = {1: "L", 2: "LAB", 3: "RGB", 4: "CMYK"}
"""Number in the file → Pillow's mode, which it believes without running the program."""


def postscript(colours: int = 3) -> bytes:
    """A PostScript file that claims 8 × 8 pixels."""
    head = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    return f"{head}%ImageData: 8 8 8 {colours} 0 1 1 none\nshowpage\n".encode()


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mark of a program `gs` that comes first on the path; it is not there as long as nothing started it."""
    mark, program = tmp_path / "ghostscript-ran", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # or it remembers that there is none
    return mark
