"""Settings that every use of a detector shares: which one, with which diffusion model, how careful, and how it runs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from cache_schema import check_choice, check_least
from extract import ComputeDtype

if TYPE_CHECKING:
    from detect.detector import Detector


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """A detector and how it is asked.

    Raises:
        ValueError: If a setting is outside its range.
    """

    detector: str
    """Folder of the detector, or its hub id."""
    model: str | None = None
    """Diffusers folder or hub id of the diffusion model. By default the one that the detector holds or names."""
    variant: str | None = None
    """Which of several copies of the diffusion model's weights: `fp16` for files *.fp16.safetensors."""
    revision: str | None = None
    """Branch, tag or commit hash of a detector on the hub."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks run; auto uses a GPU if there is one."""
    compute_dtype: ComputeDtype | None = None
    """Number format of the diffusion model, by default as in training. Another one moves the maps a little."""
    false_alarm_rate: float = 0.01
    """Largest share of photographs like the validation ones that may be called generated."""
    strict: bool = False
    """Refuse a false-alarm rate that the validation photographs do not support.

    Otherwise the smallest rate that they support is used, and named with every verdict."""
    verify: bool = False
    """Read the diffusion model's weights in full to check them, also if they were hashed on this machine before."""
    batch_size: int = 16
    """Pictures that the networks see at once."""
    num_threads: int | None = None
    """Threads that load and decode. By default one a core, at most 8."""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is opened."""
        if not self.detector:
            raise ValueError("detector is empty: expected the folder of a detector")
        if not 0 < self.false_alarm_rate < 1:
            raise ValueError(f"false_alarm_rate is {self.false_alarm_rate}: expected a number between 0 and 1")
        check_choice("device", self.device, ("auto", "cpu", "cuda"))
        if self.compute_dtype is not None:
            check_choice("compute_dtype", self.compute_dtype, get_args(ComputeDtype))
        check_least("batch_size", self.batch_size, 1)
        check_least("num_threads", self.num_threads, 1)

    def load(self, *, explain: bool = False) -> "Detector":
        """Load the detector; errors as of `Detector.from_pretrained`."""
        from detect.detector import Detector  # loads torch: seconds that a missing file does not need

        return Detector.from_pretrained(
            self.detector,
            self.model,
            self.device,
            variant=self.variant,
            revision=self.revision,
            compute_dtype=self.compute_dtype,
            false_alarm_rate=self.false_alarm_rate,
            strict=self.strict,
            verify=self.verify,
            batch_size=self.batch_size,
            num_threads=self.num_threads,
            explain=explain,
        )
