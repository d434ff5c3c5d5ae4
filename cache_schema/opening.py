"""The one way to open a picture's file: as one of an explicit list of formats, never as whatever Pillow knows.

Pillow goes by content, whatever the file is called, and knows some forty formats. PostScript among them is a program
that it has Ghostscript run, and many others are read by code that hardly anybody uses.
"""

from os import PathLike
from typing import IO

from PIL import Image

from cache_schema.avif import pillow_reads_avif

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(("AVIF",) if pillow_reads_avif() else ()))
"""Pillow's names of the formats that datasets hold, as far as it reads them here."""


def open_image(file: str | PathLike[str] | IO[bytes], formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Open a picture's file without decoding its pixels.

    Args:
        file: Path, or a file at its beginning.
        formats: Pillow's names of the formats that are tried; the file's name plays no role.

    Raises:
        PIL.UnidentifiedImageError: If it is a file of none of them. A damaged header raises nearly any exception.
    """
    return Image.open(file, formats=formats)  # noqa: TID251  the only place
