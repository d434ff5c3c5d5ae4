"""`python -m experiments toy-benchmark`: from photographs to RESULTS.md."""

import sys
from collections.abc import Sequence

from demo.command import run_command
from experiments.toy_benchmark import ToyBenchmarkConfig, run


def main(args: Sequence[str] | None = None) -> int:
    """Parse, run, and return the exit status: 0 done, 1 error, 2 wrong settings."""
    return run_command("python -m experiments", "toy-benchmark", ToyBenchmarkConfig, run, args)


if __name__ == "__main__":
    sys.exit(main())
