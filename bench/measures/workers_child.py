"""`python -m bench.measures.workers_child SETTINGS`: starts two training loaders in turn and prints their seconds."""

import json
import sys
import time
from typing import Any


def seconds_to_first_batch(settings: dict[str, Any]) -> float:
    """Open a training loader, take one batch, and end its workers."""
    # Not on top: what the main module imports each worker imports too, unless it is forked; `train` imports little.
    from train.data.datamodule import LareDataModule

    start = time.perf_counter()
    module = LareDataModule(**settings)
    try:
        next(iter(module.train_dataloader()))
        return time.perf_counter() - start
    finally:
        module.teardown("fit")


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps([seconds_to_first_batch(given) for _ in range(2)]))
