"""Settings of `lare detect`."""

from dataclasses import dataclass
from typing import Literal, get_args

from cache_schema import check_choice, check_least

STDIN = "-"
"""A word that stands for the standard input, as file or as list; for `out`, the standard output."""
SUFFIXES = (".csv", ".jsonl", ".parquet")

ComputeDtype = Literal["fp32", "tf32", "bf16", "fp16"]


@dataclass(frozen=True)
class DetectConfig:
    """Verdicts on files, folders and tars: what is asked about, by which detector, and where the answers go."""

    detector: str
    """Folder of the detector, or its hub id."""
    files: tuple[str, ...] = ()
    """Pictures: files, folders, tars, packed datasets, or `-` for one picture from the standard input."""
    model: str | None = None
    """Diffusers folder or hub id of the diffusion model. By default the one that the detector holds or names."""
    out: str | None = None
    """File for the answers, `.csv`, `.jsonl` or `.parquet`; `-`: JSON lines to the standard output.

    After a stop the same command goes on where it was. A finished file is refused."""
    maps: str | None = None
    """Folder for the error maps: a PNG to look at and a NumPy array of each picture."""
    explain: bool = False
    """Ask for the detector's attention too, and draw it."""
    false_alarm_rate: float = 0.01
    """Largest share of photographs like the validation ones that may be called generated."""
    strict: bool = False
    """Refuse a false-alarm rate that the validation photographs do not support.

    Otherwise the smallest rate that they support is used, and named with every verdict."""
    files_from: str | None = None
    """File with a list of pictures, one a line, or divided by NUL (find -print0); `-`: the standard input."""
    overwrite: bool = False
    """Replace a finished file of answers."""
    verify: bool = False
    """Read the diffusion model's weights in full to check them, also if they were hashed on this machine before."""
    revision: str | None = None
    """Branch, tag or commit hash of a detector on the hub."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks run; auto uses a GPU if there is one."""
    compute_dtype: ComputeDtype | None = None
    """Number format of the diffusion model, by default as in training. Another one moves the maps a little."""
    batch_size: int = 16
    """Pictures that the networks see at once."""
    num_threads: int | None = None
    """Threads that load and decode. By default one a core, at most 8."""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is opened."""
        if not self.files and self.files_from is None:
            raise ValueError("no pictures are given: name files, folders or tars, or a list by --files_from")
        if [*self.files, self.files_from].count(STDIN) > 1:
            raise ValueError(
                "the standard input is named more than once: expected one '-' among files and --files_from"
            )
        if not self.detector:
            raise ValueError("--detector is empty: expected the folder of a detector")
        if self.out is not None and self.out != STDIN and not self.out.lower().endswith(SUFFIXES):
            raise ValueError(f"--out is {self.out}: expected a name that ends in {', '.join(SUFFIXES)}, or '-'")
        if not 0 < self.false_alarm_rate < 1:
            raise ValueError(f"--false_alarm_rate is {self.false_alarm_rate}: expected a number between 0 and 1")
        check_choice("--device", self.device, ("auto", "cpu", "cuda"))
        if self.compute_dtype is not None:
            check_choice("--compute_dtype", self.compute_dtype, get_args(ComputeDtype))
        check_least("--batch_size", self.batch_size, 1)
        check_least("--num_threads", self.num_threads, 1)
