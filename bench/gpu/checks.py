"""The list of checks. Another one is a function from `Setting` to outcomes, and a line here."""

from collections.abc import Callable

from bench.gpu.machine import check_machine
from bench.gpu.maps import check_batches, check_cpu, check_overflow, check_precision, check_twice
from bench.gpu.outcome import Outcome
from bench.gpu.setting import Setting
from bench.gpu.speed import check_job, check_speed, check_syncs
from bench.gpu.stopping import check_sigterm
from bench.gpu.training import check_training
from bench.gpu.transfer import check_transfer

CHECKS: dict[str, Callable[[Setting], list[Outcome]]] = {
    "machine": check_machine,
    "transfer": check_transfer,
    "cpu": check_cpu,
    "batches": check_batches,
    "twice": check_twice,
    "precision": check_precision,
    "overflow": check_overflow,
    "syncs": check_syncs,
    "speed": check_speed,
    "job": check_job,
    "training": check_training,
    "sigterm": check_sigterm,
}


def select_checks(text: str) -> list[str]:
    """Names by `all`, or names with commas between.

    Raises:
        ValueError: If there is no such name.
    """
    if text == "all":
        return [*CHECKS]
    wanted = [name.strip() for name in text.split(",")]
    if unknown := [name for name in wanted if name not in CHECKS]:
        raise ValueError(f"checks names {', '.join(unknown)}: expected all, or of {', '.join(CHECKS)}")
    return [name for name in CHECKS if name in wanted]
