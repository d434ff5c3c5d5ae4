"""Every setting of a launch, each with a sentence and a check: the settings of a run, and where its tasks run."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from cache_schema import check_least, place, state_folder
from extract.config import ExtractConfig

EngineName = Literal["slurm", "local"]
MINUTES_A_TASK = 30
"""Work in a task, if its number of tars is not given: the models' loading is then a small part, and so is what a
preemption or a dead node costs."""
MAX_TASKS = 1000
"""Most tasks of one launch: SLURM's MaxArraySize is 1001 unless a cluster sets it."""


@dataclass(frozen=True, kw_only=True)
class LaunchConfig(ExtractConfig):
    """An extraction as many tasks: an array of SLURM jobs, or one process a device of this machine.

    Only tars whose store is missing (or stale, with `overwrite: stale`) become tasks, so that the same command
    continues where the last one ended, even if some of its tasks failed.

    Raises:
        ValueError: If a setting is outside its range.
    """

    engine: EngineName = "slurm"
    """`slurm` submits a job array and returns; `local` runs the tasks on this machine's devices and waits."""
    tars_per_task: int | None = None
    """Tars of a task; as many as take about 30 minutes if not given."""
    images_per_second: float | None = None
    """Images a second that a device is expected to process, for tars_per_task and the estimated cost. If not given:
    the mean of the finished stores, or an assumed share of a GPU's peak."""
    logs: str | None = None
    """Folder of the tasks' logs, which every node can write to; .logs in the cache folder if not given."""
    dry_run: bool = False
    """Show the plan, its cost and the batch file, and start nothing."""
    processes: int | None = None
    """Processes at a time of engine local; one a GPU, or a single one without GPUs, if not given."""
    partition: str | None = None
    """SLURM partition."""
    account: str | None = None
    """SLURM account."""
    gpus_per_task: int = 1
    """GPUs of a task. 0: it runs on the CPU. Several, for clusters that allocate whole nodes: the task divides its tars
    among them."""
    cpus_per_task: int | None = None
    """CPUs of a task; num_workers and two more, for each GPU, if not given."""
    memory_gb: float | None = None
    """Memory of a task. If not given: 16 GB, and for each GPU 8 GB and 1 GB a worker: 32 GB for one with 8 workers."""
    time_limit: int = 120
    """Minutes after which SLURM ends a task; 90 s before the limit the task is requeued with what is left."""
    concurrency: int = 64
    """Tasks at a time."""
    sbatch: dict[str, Any] | None = None
    """More options of sbatch by name: --sbatch.constraint a100 --sbatch.qos low."""
    setup: list[str] | None = None
    """Shell lines of the batch file before the work, for example "module load cuda"."""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if self.engine not in get_args(EngineName):
            raise ValueError(f"engine is {self.engine!r}: expected {' or '.join(get_args(EngineName))}")
        if self.overwrite is True:
            raise ValueError(
                "overwrite is true: a requeued task would start from the beginning each time. Launch with "
                "overwrite stale, or into a new cache folder."
            )
        for name, least in (
            ("tars_per_task", 1),
            ("processes", 1),
            ("gpus_per_task", 0),
            ("cpus_per_task", 1),
            ("time_limit", 1),
            ("concurrency", 1),
        ):
            check_least(name, getattr(self, name), least)
        for name in ("images_per_second", "memory_gb"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}: expected more than 0")

    @property
    def num_devices(self) -> int:
        """Devices that a task computes on: its GPUs, or the CPU."""
        return max(1, self.gpus_per_task)

    @property
    def task_memory_gb(self) -> float:
        """Memory of a task, as given or by what its processes need: a model on its way to the GPU, and pictures."""
        return self.memory_gb or 16 + (8 + self.num_workers) * self.num_devices

    @property
    def logs_folder(self) -> Path:
        """Where logs and batch files go, absolute."""
        return Path(self.logs or state_folder(self.cache) / ".logs").absolute()

    @property
    def num_cpus(self) -> int:
        """CPUs of a task."""
        return self.cpus_per_task or (self.num_workers + 2) * self.num_devices

    def run_settings(self, device: str) -> dict[str, Any]:
        """Settings of `python -m extract run` for every task, without the tars; paths are absolute.

        Args:
            device: Where the engine runs the tasks.
        """
        settings = {field.name: getattr(self, field.name) for field in fields(ExtractConfig)}
        del settings["shard"]
        for name in ("data", "cache", "canvas_folder"):
            if settings[name] is not None:
                settings[name] = str(place(settings[name]).absolute())
        for name in ("model", "vae"):  # a folder here, or a hub id
            if settings[name] and Path(settings[name]).is_dir():
                settings[name] = str(Path(settings[name]).absolute())
        settings["device"] = device
        settings["keep_going"] = True  # otherwise a broken tar would block the tars behind it in its task
        return {name: value for name, value in settings.items() if value is not None}
