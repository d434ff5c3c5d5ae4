"""A checkpoint as a folder that anyone can load: weights without pickle, and all that belongs to them as JSON."""

import inspect
import logging
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from train.model import WEIGHTS_NAME, LareClassifier
from train.record import TRAINED_ON, describe_code
from train.scoring.calibration import Calibration

logger = logging.getLogger(__name__)

_CARD = """\
---
library_name: pytorch
license: apache-2.0
tags: [image-forensics, diffusion, lare]
---
# Detector of diffusion-generated images

A `LareClassifier` with its weights (`model.safetensors`) and settings (`config.json`):

```python
import torch
from train.scoring.calibration import Calibration
from train.model import WEIGHTS_NAME, LareClassifier

model = LareClassifier.from_pretrained("<this folder>")
calibration = Calibration.from_dict(model.record["calibration"])
score = torch.softmax(model(image, lare), dim=1)[:, 1]  # image in [0, 1], and its LaRE map
is_generated = score > calibration.threshold
```

The maps must be made as those of training were: `record.trained_on.caches` of config.json has their fingerprint and
its fields. `record.trained_on.view` says how images and maps are cut.
"""


def load_checkpoint(path: str | Path) -> LareClassifier:
    """The detector of a checkpoint, on the CPU and in evaluation mode, its `record` filled in.

    Args:
        path: Checkpoint of `python -m train fit`. Nothing but tensors and plain values is unpickled.

    Raises:
        ValueError: If the file is no such checkpoint.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        settings, weights = checkpoint["hyper_parameters"], dict(checkpoint["state_dict"])
        calibration = Calibration.from_tensor(weights.pop("_extra_state"))
    except FileNotFoundError as error:
        raise ValueError(f"there is no checkpoint {path}") from error
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no checkpoint of python -m train fit: it has no {error}") from error
    known = inspect.signature(LareClassifier).parameters
    record = {
        "calibration": calibration.to_dict(),
        "trained_on": checkpoint.get(TRAINED_ON),
        "exported_by": describe_code(),
    }
    changes = {"pretrained": False, "record": record}
    model = LareClassifier(**{name: value for name, value in settings.items() if name in known} | changes)
    try:
        model.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: its weights are not those of its settings: {reason}") from error
    return model.eval()


def export_checkpoint(ckpt: str, out: str) -> None:
    """Write a checkpoint's detector as a folder for `LareClassifier.from_pretrained`, whole or not at all.

    Args:
        ckpt: Checkpoint of `python -m train fit`.
        out: Folder to make: model.safetensors, config.json (architecture, threshold, temperature, unsure bands,
            features and view trained on, commit and versions), README.md.

    Raises:
        FileExistsError: If the folder is there already.
        ValueError: If the file is no such checkpoint.
    """
    folder = Path(out)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: choose another --out")
    model = load_checkpoint(ckpt)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    (temporary / "README.md").write_text(_CARD, encoding="utf-8")
    model.save_pretrained(temporary)
    (temporary / WEIGHTS_NAME).chmod((temporary / "README.md").stat().st_mode)  # safetensors lets only the owner read
    temporary.replace(folder)
    logger.info("detector in %s", folder)
