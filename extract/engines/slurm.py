"""Tasks as an array of SLURM jobs, by submitit. Light to import: every task does it before its work begins."""

import logging
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from extract.engines.base import Engine, run_command
from extract.engines.config import LaunchConfig

logger = logging.getLogger(__name__)

# The signal that SLURM sends before the time limit goes to every process of a task. It is for submitit's handler alone,
# and an ignored signal stays ignored in what is started.
_WITHOUT_USR2 = ("/bin/sh", "-c", "trap '' USR2; exec \"$@\"", "sh")


class ExtractTask:
    """One element of the array, called by submitit on its node: `python -m extract run` over some tars.

    SIGTERM (scancel, preemption) reaches the run itself, which ends in order with 143. Before the time limit submitit's
    handler puts the job back into the queue and leaves by SystemExit. Either way the published stores stay, and the
    next attempt skips them.

    Args:
        settings: YAML file of the run's settings.
        num_gpus: GPUs of the task; several share its tars by a launch of their own.
    """

    def __init__(self, settings: Path, num_gpus: int) -> None:
        self.settings, self.num_gpus = settings, num_gpus

    def __call__(self, shards: str) -> None:
        """Run, and exit with the run's status if it is not 0, so that SLURM records it.

        Args:
            shards: Positions of tars, "0-25".
        """
        process = subprocess.Popen([*_WITHOUT_USR2, *self.command(shards)])
        try:
            status = process.wait()
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait()
        if status:
            sys.exit(status if status > 0 else 128 - status)

    def command(self, shards: str) -> list[str]:
        """The command line of the task's work."""
        if self.num_gpus <= 1:
            return run_command(self.settings, shards)
        python = [sys.executable, "-u", "-m", "extract"]
        return [*python, "launch", f"--config={self.settings}", f"--shard={shards}", "--engine=local"]

    def checkpoint(self, shards: str) -> Any:
        """What the requeued job does: the same call, which skips finished stores."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, shards)


class SlurmEngine(Engine):
    """Submits a job array, an element a task, and returns; a single task is a plain job."""

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """A GPU, unless the tasks are to have none; the machine that submits need not have one."""
        return "cuda" if self.config.gpus_per_task > 0 and self.config.device != "cpu" else "cpu"

    @property
    def max_at_once(self) -> int:
        """As `concurrency` says."""
        return self.config.concurrency

    def describe(self, settings: Path, tasks: Sequence[str]) -> str:
        """The text that would be given to sbatch, and the command of the first task."""
        from submitit.slurm import slurm

        config = self.config
        command = f"{sys.executable} -u -m submitit.core._submit {config.logs_folder}"
        count: dict[str, Any] = {"map_count": len(tasks)} if len(tasks) > 1 else {}
        text = slurm._make_sbatch_string(command, config.logs_folder, **slurm_parameters(config), **count)
        work = " ".join(ExtractTask(settings, config.gpus_per_task).command("…"))
        return f"{text}\n# each task: {work}\n"

    def run(self, settings: Path, tasks: Sequence[str]) -> bool:
        """Submit the tasks.

        Returns:
            False: what becomes of the tasks is not waited for.

        Raises:
            OSError: If SLURM is not there, or refuses the job.
        """
        import submitit

        config = self.config
        try:
            executor = submitit.SlurmExecutor(config.logs_folder)
            executor.update_parameters(**slurm_parameters(config))
            jobs: Any = executor.map_array(ExtractTask(settings, config.gpus_per_task), tasks)
        except submitit.core.utils.FailedJobError as error:
            raise OSError(f"sbatch refuses the job: {str(error).strip()}") from error
        except RuntimeError as error:
            raise OSError(f"this machine submits no SLURM jobs: {error}") from error
        number = jobs[0].job_id.partition("_")[0]
        logger.info(
            "job %s: %d tasks, logs in %s. Watch them: make status WATCH=1 DATA=%s CACHE=%s; end them: scancel %s",
            number,
            len(tasks),
            config.logs_folder,
            config.data,
            config.cache,
            number,
        )
        return False


def slurm_parameters(config: LaunchConfig) -> dict[str, Any]:
    """The launch's settings in submitit's words."""
    parameters: dict[str, Any] = {
        "job_name": "lare-extract",
        "time": config.time_limit,
        "cpus_per_task": config.num_cpus,
        "mem": f"{int(config.memory_gb * 1024)}MB",
        "array_parallelism": config.concurrency,
        "partition": config.partition,
        "account": config.account,
        "gpus_per_node": config.gpus_per_task or None,
        "setup": config.setup,
        "additional_parameters": {"requeue": True, **(config.sbatch or {})},
        # Since SLURM 22.05 srun does not take the batch job's number, and a step would have one CPU.
        "srun_args": [f"--cpus-per-task={config.num_cpus}"],
    }
    given = {name: value for name, value in parameters.items() if value is not None}
    return {**given, "wckey": None}  # submitit's own is refused by clusters that keep a list of them
