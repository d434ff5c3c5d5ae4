"""The engines by name. Another one is a file with an `Engine` in it, and a line here."""

from extract.engines.base import Engine
from extract.engines.config import LaunchConfig
from extract.engines.local import LocalEngine
from extract.engines.slurm import SlurmEngine

ENGINES: dict[str, type[Engine]] = {"slurm": SlurmEngine, "local": LocalEngine}


def make_engine(config: LaunchConfig) -> Engine:
    """The engine of a launch.

    Raises:
        ValueError: If there is none of this name, or a setting does not fit this machine.
    """
    if config.engine not in ENGINES:
        raise ValueError(f"engine is {config.engine!r}: expected {' or '.join(ENGINES)}")
    return ENGINES[config.engine](config)
