"""Tasks as an array of SLURM jobs: a batch file that sbatch reads from its input, so that nothing that runs is stored.

A job array's elements start hours later, from what SLURM has kept. Whoever else may write to the cache folder, or to
the logs, changes nothing in them.
"""

import logging
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

from extract.engines.base import Engine, run_command
from extract.engines.config import LaunchConfig

logger = logging.getLogger(__name__)

SECONDS_BEFORE_LIMIT = 90
MAX_RESTARTS = 3
"""A task that has been started anew so often, for whatever reason, is ended at its time limit."""

# srun, so that scancel's SIGTERM reaches the run; it does not take the number of CPUs over by itself. The signal before
# the time limit is for this shell alone. An element is named as one: its bare number may be that of the whole array.
_WORK = """\
put_back() {{
    signalled=yes
    if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
        echo "the time limit is near: the task goes back into the queue"
        scontrol requeue "${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}"
    fi
}}
trap put_back USR2
srun --unbuffered --cpus-per-task={cpus} {command} "--shard=$shards" &
work=$!
signalled=yes
while [ "$signalled" ]; do  # a signal ends a wait early
    signalled=
    wait "$work"
    status=$?
done
exit "$status"
"""


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

    @property
    def min_tasks(self) -> int:
        """As many as may run at a time: otherwise GPUs that were asked for would have none."""
        return self.config.concurrency

    @property
    def devices_a_task(self) -> int:
        """Its GPUs, or the CPU."""
        return self.config.num_devices

    @property
    def resources(self) -> str:
        """What SLURM is asked for."""
        config = self.config
        gpus = f"{config.gpus_per_task} GPU{'s' if config.gpus_per_task > 1 else ''}, " if config.gpus_per_task else ""
        return f"{gpus}{config.num_cpus} CPUs, {config.task_memory_gb:g} GB"

    def describe(self, flags: Sequence[str], tasks: Sequence[str]) -> str:
        """The batch file that would be given to sbatch."""
        return batch_file(self.config, flags, tasks)

    def run(self, flags: Sequence[str], tasks: Sequence[str]) -> bool:
        """Submit the tasks.

        Returns:
            False: what becomes of the tasks is not waited for.

        Raises:
            OSError: If SLURM is not there, or refuses the job.
        """
        config, text = self.config, batch_file(self.config, flags, tasks)
        try:
            done = subprocess.run(["sbatch", "--parsable"], input=text, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise OSError("this machine submits no SLURM jobs: there is no sbatch") from error
        if done.returncode:
            raise OSError(f"sbatch refuses the job: {done.stderr.strip()}")
        number = done.stdout.strip().partition(";")[0]
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


def batch_file(config: LaunchConfig, flags: Sequence[str], tasks: Sequence[str]) -> str:
    """The text for sbatch: SLURM's options, the setup, the list of tasks, and the work of each.

    Args:
        config: The launch's settings.
        flags: The run's settings, as flags.
        tasks: Tars of each task, "0-25".

    Raises:
        ValueError: If an option of sbatch is no single line.
    """
    return "\n".join(
        [
            "#!/bin/bash",
            *(_option(name, value) for name, value in slurm_options(config, len(tasks)).items()),
            *(config.setup or ()),
            f"tasks=({' '.join(map(shlex.quote, tasks))})",
            "shards=${tasks[${SLURM_ARRAY_TASK_ID:-0}]}",
            'echo "task $shards on $(hostname)"',
            _WORK.format(cpus=config.num_cpus, command=shlex.join(task_command(config, flags)), restarts=MAX_RESTARTS),
        ]
    )


def task_command(config: LaunchConfig, flags: Sequence[str]) -> list[str]:
    """The command line of a task's work, without its tars; several GPUs share them by a launch of their own."""
    if config.gpus_per_task <= 1:
        return run_command(flags)
    logs = [f"--logs={config.logs_folder}"]
    return [sys.executable, "-u", "-m", "extract", "launch", *flags, *logs, "--engine=local"]


def slurm_options(config: LaunchConfig, num_tasks: int) -> dict[str, object]:
    """Options of sbatch by name; True is one without a value. A person's own (`sbatch`) come last and win."""
    logs = str(config.logs_folder).replace("%", "%%")
    options: dict[str, object] = {
        "job-name": "lare-extract",
        "time": config.time_limit,
        "cpus-per-task": config.num_cpus,
        "mem": f"{int(config.task_memory_gb * 1024)}M",
        "gpus-per-node": config.gpus_per_task or None,
        "partition": config.partition,
        "account": config.account,
        "array": f"0-{num_tasks - 1}%{min(num_tasks, config.concurrency)}" if num_tasks > 1 else None,
        "output": f"{logs}/slurm-{'%A_%a' if num_tasks > 1 else '%j'}.log",
        "open-mode": "append",
        "requeue": True,
        "signal": f"B:USR2@{SECONDS_BEFORE_LIMIT}",
    }
    own = {name.replace("_", "-"): value for name, value in (config.sbatch or {}).items()}
    return {name: value for name, value in {**options, **own}.items() if value is not None}


def _option(name: str, value: object) -> str:
    text = f"#SBATCH --{name}" if value is True else f"#SBATCH --{name}={shlex.quote(str(value))}"
    if not text.isprintable():
        raise ValueError(f"{text!r} cannot be an option of sbatch: expected one line of plain text")
    return text
