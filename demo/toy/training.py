"""A training that can be cut short: its sittings, its state and log, the best averaged weights, and what is written."""

import copy
import csv
import io
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import matplotlib.pyplot as plt
import numpy as np
import torch
from diffusers.training_utils import EMAModel
from jsonargparse import auto_cli
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from cache_schema import new_folder, new_opened, remove, write_text

logger = logging.getLogger(__name__)

SAVE_EVERY_STEPS = 200
LOG_EVERY_STEPS = 200


class SittingOver(Exception):
    """The time of this sitting is up; everything is saved."""


def cosine_rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Learning rate: linear warm-up, then half a cosine down to 1 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))))


class Settings(Protocol):
    """What a training needs of a model's settings, which are a dataclass."""

    seed: int
    ema_decay: float


class Part:
    """One of a model's trainings: a module, its EMA copy and the best of it, its optimiser, and the file of them all.

    Args:
        name: Part of the names of its files.
        module: What is trained.
        steps: Steps in all.
        learning_rate: Peak of the schedule.
        config: Settings; a state of others is refused.
        out: Folder for state and log.
        deadline: `time.monotonic()` at which the sitting ends; None: never.

    Raises:
        ValueError: If the state that is there was trained with other settings.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        steps: int,
        learning_rate: float,
        config: Settings,
        out: Path,
        deadline: float | None,
    ) -> None:
        self.name, self.module, self.steps, self.learning_rate = name, module, steps, learning_rate
        self.deadline = deadline
        self.out, self.file = out, out / f"{name}-state.pt"
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
        self.ema = EMAModel(module.parameters(), decay=config.ema_decay)
        self.seed, self.step = config.seed, 0
        self.best_loss, self.best = math.inf, module.state_dict()
        self.running_loss = 0.0
        self.settings = repr(asdict(config))
        if self.file.exists():
            state = torch.load(self.file, weights_only=True)
            if state["settings"] != self.settings:
                raise ValueError(f"{self.file} was trained with {state['settings']}, this run has {self.settings}")
            module.load_state_dict(state["module"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.ema.load_state_dict(state["ema"])
            self.step, self.running_loss = state["step"], state["running_loss"]
            self.best_loss, self.best = state["best_loss"], state["best"]

    def rngs(self) -> Iterator[np.random.Generator]:
        """Yield the randomness of each step that is still to do, and write the state now and then.

        Raises:
            SittingOver: At the deadline, after the state was written.
        """
        bar = tqdm(range(self.step, self.steps), desc=self.name, initial=self.step, total=self.steps, mininterval=5)
        for step in bar:
            torch.manual_seed(int(np.random.SeedSequence([self.seed, step, self.name == "unet"]).generate_state(1)[0]))
            yield np.random.default_rng([self.seed, step, self.name == "unet"])
            self.step = step + 1
            is_over = self.deadline is not None and time.monotonic() > self.deadline and self.step < self.steps
            if is_over or self.step % SAVE_EVERY_STEPS == 0 or self.step == self.steps:
                self.save()
            if is_over:
                raise SittingOver(f"{self.name}: {self.step} of {self.steps} steps are done")

    def update(self, loss: Tensor) -> None:
        """One optimiser step at the schedule's rate."""
        self.running_loss = 0.98 * self.running_loss + 0.02 * loss.item() if self.running_loss else loss.item()
        for group in self.optimizer.param_groups:
            group["lr"] = cosine_rate(self.step, self.steps, self.learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.ema.step(self.module.parameters())

    def evaluate(self, measure: Callable[[], dict[str, float]]) -> None:
        """Now and then, and after the last step, measure the averaged weights; keep those with the lowest loss.

        Args:
            measure: Gives figures of the module as it stands, `held_out_loss` among them. They go into the log.
        """
        done = self.step + 1  # within a step, it is counted after its evaluation
        if done % LOG_EVERY_STEPS and done != self.steps:
            return
        self.ema.store(self.module.parameters())
        self.ema.copy_to(self.module.parameters())
        with torch.no_grad():
            values = measure()
        if values["held_out_loss"] < self.best_loss:
            self.best_loss, self.best = values["held_out_loss"], copy.deepcopy(self.module.state_dict())
        self.ema.restore(self.module.parameters())
        self.log(done, train_loss=self.running_loss, **values)

    def finish(self) -> None:
        """Leave the best averaged weights in the module."""
        self.module.load_state_dict(self.best)

    def save(self) -> None:
        """Replace the state file by one rename."""
        state = {
            "settings": self.settings,
            "step": self.step,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
            "running_loss": self.running_loss,
            "best_loss": self.best_loss,
            "best": self.best,
        }
        with new_opened(self.file) as f:
            torch.save(state, f)  # to an opened file: the archive would name its folder after the temporary one

    def log(self, step: int, **values: float) -> None:
        """Put a line into `<name>-log.csv`, in place of those that a sitting which was cut short wrote beyond it."""
        path = self.out / f"{self.name}-log.csv"
        lines = read_log(path) if path.exists() else []
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, ["step", *values])
        writer.writeheader()
        writer.writerows(line for line in lines if int(line["step"]) < step)
        writer.writerow({"step": step, **{name: f"{value:.5f}" for name, value in values.items()}})
        write_text(path, text.getvalue(), durable=False)


def read_log(path: Path) -> list[dict[str, str]]:
    """The lines of a training's log."""
    with path.open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


@contextmanager
def sitting(out: Path, minutes: float | None) -> Iterator[float | None]:
    """A sitting of a training in the folder `out`: yields `time.monotonic()` at its end, None if it has none.

    One that is over before the training is says so, and leaves out what comes after.
    """
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    try:
        yield deadline
    except SittingOver as over:
        logger.info("%s; the same command goes on", over)


def save_model(pipeline: Any, out: Path, *parts: str) -> None:
    """Write a finished model: the loss curves of its parts, and its folder `out/model` in float16."""
    plot_losses(out, out / "losses.png", *parts)
    save_folder(pipeline.to(dtype=torch.float16), out / "model")


def save_sheet(path: Path, rows: list[Tensor]) -> None:
    """Rows of images, each (n, 3, h, w) in [-1, 1], as one PNG."""
    sheet = torch.cat([torch.cat(list(row.detach()), dim=2) for row in rows], dim=1).clamp(-1, 1)
    with new_opened(path) as file:
        Image.fromarray(((sheet + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(file, "PNG")


def save_folder(model: Any, folder: Path) -> None:
    """Write a model's folder in place of an older one."""
    remove(folder)
    with new_folder(folder) as temporary:
        model.save_pretrained(temporary, safe_serialization=True)


def plot_losses(out: Path, path: Path, *names: str) -> None:
    """Loss curves of a training's parts, training and held out, as one picture."""
    figure, axes = plt.subplots(1, len(names), figsize=(4.5 * len(names), 3), layout="constrained", squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        lines = read_log(out / f"{name}-log.csv")
        for column in ("train_loss", "held_out_loss"):
            axis.plot([int(line["step"]) for line in lines], [float(line[column]) for line in lines], label=column)
        axis.set(title=name, xlabel="step", yscale="log")
        axis.legend()
    with new_opened(path) as file:
        figure.savefig(file, format="png", dpi=110)
    plt.close(figure)


def run_as_program(train: Callable[..., None]) -> None:
    """`python -m <module> train …`, with the function's arguments as flags."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    auto_cli({"train": train}, as_positional=False)
