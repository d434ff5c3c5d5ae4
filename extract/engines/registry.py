"""The engines by name. Another one is a file with an `Engine` in it, a line here, and its name in the settings."""

from extract.engines.base import Engine
from extract.engines.config import EngineName, LaunchConfig
from extract.engines.local import LocalEngine
from extract.engines.slurm import SlurmEngine

ENGINES: dict[EngineName, type[Engine]] = {"slurm": SlurmEngine, "local": LocalEngine}


def make_engine(config: LaunchConfig) -> Engine:
    """The engine of a launch.

    Raises:
        ValueError: If a setting does not fit this machine.
    """
    return ENGINES[config.engine](config)
