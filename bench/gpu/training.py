"""Training in bfloat16: its rate, what waits for the device, how many scores are distinct, and resuming."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor

from bench.data.pictures import make_jpegs, pack_jpegs
from bench.gpu.outcome import Outcome, judged, needs_cuda
from bench.gpu.setting import TOY_PICTURE_PX, Setting
from bench.gpu.speed import LARGE_PICTURE_PX, count_syncs
from extract import Job
from train import LareDataModule, LareTask
from train.data.random_state import RandomState

PRECISION = "bf16-mixed"
_SPLITS = ("train",) * 8 + ("validation", "test")


class _Watch(Callback):
    """Reads the clock, and calls that wait for the device, over the second half of a fit's steps.

    Args:
        setting: Where it runs.
        first: Step that it begins at.
        last: Step that it ends at.
    """

    def __init__(self, setting: Setting, first: int, last: int) -> None:
        self.setting, self.first, self.last = setting, first, last
        self.seconds, self.syncs = 0.0, list[str]()
        self._counting: Any = None
        self._found: list[str] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begin."""
        if trainer.global_step == self.first and not self.seconds:
            self.setting.synchronize()
            if self.setting.is_gpu:
                self._counting = count_syncs()
                self._found = self._counting.__enter__()
            self.seconds = -time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """End."""
        if trainer.global_step == self.last and self.seconds < 0:
            if self._counting is not None:
                self._counting.__exit__(None, None, None)
            self.setting.synchronize()
            self.seconds += time.perf_counter()
            self.syncs = self._found


def check_training(setting: Setting) -> list[Outcome]:
    """A fit of the default detector on made-up photographs, whole and in two pieces."""
    steps, batch_size = setting.sized(200, 4), setting.sized(48, 2)
    data, cache = _make_features(setting, num_images=setting.sized(2000, 20))

    def module() -> LareDataModule:
        workers = setting.sized(8, 0)
        return LareDataModule(
            str(data), str(cache), batch_size=batch_size, num_workers=workers, crop_px=setting.sized(224, 64)
        )

    def fit(folder: Path, end: int, ckpt: Path | None = None, watch: _Watch | None = None) -> Mapping[str, Tensor]:
        seed_everything(0)
        classifier = _classifier(setting) | {"map_channels": module().map_channels}
        task = LareTask(optimizer="adamw", schedule="constant", balance_classes=True, **classifier)
        trainer = _trainer(setting, end, folder, watch)
        trainer.fit(task, datamodule=module(), ckpt_path=ckpt, weights_only=False if ckpt else None)
        trainer.save_checkpoint(folder / "last.ckpt")
        return {name: value.detach().cpu() for name, value in task.state_dict().items()}

    watch = _Watch(setting, steps // 2, steps)
    whole = fit(setting.folder / "whole", steps, watch=watch)
    fit(setting.folder / "pieces", steps // 2)
    pieces = fit(setting.folder / "pieces", steps, setting.folder / "pieces" / "last.ckpt")
    moved = max((whole[name] - pieces[name]).abs().max().item() for name in whole if whole[name].is_floating_point())
    rate = (steps - steps // 2) * batch_size / watch.seconds
    text = "equal to the bit" if not moved else f"largest difference of a weight {moved:.1e}"
    return [
        Outcome("training steps", f"{rate:,.0f} images/s, batch {batch_size}, {PRECISION}", "measured"),
        _tell_syncs(setting, watch, steps - steps // 2),
        Outcome("training resumed", text, "measured")
        if setting.is_gpu
        else judged("training resumed", text, not moved),
        _check_scores(setting),
    ]


def _tell_syncs(setting: Setting, watch: _Watch, num_steps: int) -> Outcome:
    if not setting.is_gpu:
        return needs_cuda("host syncs in training", "the CPU has nothing to wait for")
    text = f"{len(watch.syncs) / num_steps:.2f} a step" + (f": {watch.syncs[0]}" if watch.syncs else "")
    return Outcome("host syncs in training", text, "measured")


def _check_scores(setting: Setting) -> Outcome:
    """Whether the logits are rounded to bfloat16, so that many pictures have one score."""
    torch.manual_seed(0)
    task = LareTask(**_classifier(setting)).to(setting.device).eval()
    num, px = setting.sized(512, 32), setting.sized(224, 64)
    images, maps = torch.rand(num, 3, px, px), torch.rand(num, 4, px // 8, px // 8)
    logits = []
    with torch.inference_mode(), torch.autocast(setting.device.type, torch.bfloat16):
        for start in range(0, num, 32):
            batch = images[start : start + 32].to(setting.device), maps[start : start + 32].to(setting.device)
            logits.append(task.model(*batch).float().cpu())
    found = torch.cat(logits)
    num_distinct = len(torch.unique(found[:, 1] - found[:, 0]))
    return judged("distinct scores", f"{num_distinct} of {num} in {PRECISION}", num_distinct > 0.95 * num)


def _classifier(setting: Setting) -> dict[str, Any]:
    if setting.config.size == "tiny":
        return {"backbone": "resnet_tiny_clip", "image_size": 64}
    return {"backbone": "resnet50_clip", "pretrained": False}


def _trainer(setting: Setting, steps: int, folder: Path, watch: _Watch | None) -> Trainer:
    return Trainer(
        accelerator="gpu" if setting.is_gpu else "cpu",
        devices=1,
        precision=PRECISION,
        max_steps=steps,
        max_epochs=-1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        callbacks=[RandomState(), *([watch] if watch else [])],
    )


def _make_features(setting: Setting, num_images: int) -> tuple[Path, Path]:
    """A dataset of two classes and its cache, by the small model."""
    px = setting.sized(256, 64)
    different = list(make_jpegs(min(num_images, 64), setting.sized(LARGE_PICTURE_PX, TOY_PICTURE_PX)))
    jpegs = [different[i % len(different)] for i in range(num_images)]

    def changes(number: int) -> dict[str, Any]:
        made = {"label": number % 2, "split": _SPLITS[number // 2 % len(_SPLITS)]}
        return made | ({"image_source": "generated"} if number % 2 else {})

    data = pack_jpegs(setting.folder / "training", jpegs, rows_per_tar=1024, changes=changes).folder
    config = setting.extract_config(
        data,
        "training",
        model=setting.config.toy_model,
        image_size=px,
        ensemble_size=1,
        batch_size=setting.sized(64, 4),
        num_workers=setting.sized(8, 0),
    )
    Job.prepare(config).run()
    return data, Path(config.cache)
