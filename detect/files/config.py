"""Settings of `lare detect`."""

from dataclasses import dataclass

from detect.config import DetectorConfig

STDIN = "-"
"""A word that stands for the standard input, as file or as list; for `out`, the standard output."""
SUFFIXES = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True, kw_only=True)
class DetectConfig(DetectorConfig):
    """Verdicts on files, folders and tars: what is asked about, by which detector, and where the answers go."""

    files: tuple[str, ...] = ()
    """Pictures: files, folders, tars, packed datasets, or `-` for one picture from the standard input.

    Each may be an address in object storage, s3://bucket/folder."""
    out: str | None = None
    """File or object for the answers, `.csv`, `.jsonl` or `.parquet`; `-`: JSON lines to the standard output.

    After a stop the same command goes on where it was. A finished file is refused."""
    maps: str | None = None
    """Folder for the error maps: a PNG to look at and a NumPy array of each picture."""
    explain: bool = False
    """Ask for the detector's attention too, and draw it."""
    files_from: str | None = None
    """File with a list of pictures, one a line, or divided by NUL (find -print0); `-`: the standard input."""
    overwrite: bool = False
    """Replace a finished file of answers."""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is opened."""
        super().__post_init__()
        if not self.files and self.files_from is None:
            raise ValueError("no pictures are given: name files, folders or tars, or a list by --files_from")
        if [*self.files, self.files_from].count(STDIN) > 1:
            raise ValueError(
                "the standard input is named more than once: expected one '-' among files and --files_from"
            )
        if self.out is not None and self.out != STDIN and not self.out.lower().endswith(SUFFIXES):
            raise ValueError(f"--out is {self.out}: expected a name that ends in {', '.join(SUFFIXES)}, or '-'")
