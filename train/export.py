"""A checkpoint as a folder that anyone can load: weights without pickle, and all that belongs to them as JSON."""

import logging
from pathlib import Path

from cache_schema import new_folder
from train.detector import Detector
from train.model import WEIGHTS_NAME

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
from train import Detector

detector = Detector.load("<this folder>")
score = torch.softmax(detector.model(image, lare), dim=1)[:, 1]  # image in [0, 1], and its LaRE map
is_generated = score > detector.calibration.threshold
```

Maps must be made with the settings of training: `record.trained_on.caches` of config.json has their fingerprint and
its fields. `record.trained_on.view` says how images and maps are cut.
"""


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
    model = Detector.from_checkpoint(ckpt).model
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(folder) as temporary:
        (temporary / "README.md").write_text(_CARD, encoding="utf-8")
        model.save_pretrained(temporary)
        # safetensors lets only the owner read
        (temporary / WEIGHTS_NAME).chmod((temporary / "README.md").stat().st_mode)
    logger.info("detector in %s", folder)
