"""A fit that is stopped within an epoch goes on in it: what Lightning's loops (2.6) need to be told for that.

A fit is stopped by a number of steps, by a time, by a signal or by a callback. Lightning counts an epoch that was ended
so as a whole one, validates in its middle where a time ended it, and skips an epoch where a number of steps is set.
"""

import logging
import math
from pathlib import Path
from typing import Any

from lightning import Trainer
from torch.optim.lr_scheduler import CosineAnnealingLR

logger = logging.getLogger(__name__)

_LOOP = "fit_loop"
_NO_MODELS: dict[str, Any] = {
    "best_model_path": "",
    "kth_best_model_path": "",
    "last_model_path": "",
    "best_k_models": {},
}
"""What a ModelCheckpoint knows of files before it wrote one."""


def forget_files_elsewhere(checkpoint: dict[str, Any], out: Path) -> None:
    """Take from callbacks the files that are no checkpoints below the output folder: they would remove or load them.

    Args:
        checkpoint: As Lightning wrote it, perhaps a stranger's or of a folder that was moved; changed in place.
        out: The output folder.
    """
    states = checkpoint.get("callbacks")
    for name, state in states.items() if isinstance(states, dict) else ():
        if not isinstance(state, dict) or not _NO_MODELS.keys() & state.keys():
            continue
        models = state.get("best_k_models") or {}
        named = [state.get(field) for field in _NO_MODELS if field != "best_k_models"]
        named += list(models) if isinstance(models, dict) else [models]
        if not all(_is_checkpoint_below(out, path) for path in named if path not in (None, "")):
            state |= {field: empty for field, empty in _NO_MODELS.items() if field in state}
            logger.warning(
                "The checkpoint names files outside %s as those of %s: they are not touched.", out, str(name)[:60]
            )


def _is_checkpoint_below(out: Path, path: Any) -> bool:
    if not isinstance(path, str) or not path.endswith(".ckpt") or "\0" in path:
        return False
    return Path(path).resolve().is_relative_to(out.resolve())


def reopen_epoch(checkpoint: dict[str, Any]) -> None:
    """Take back that an epoch was processed whose batches are not, in a checkpoint that is being loaded.

    Args:
        checkpoint: As Lightning wrote it; changed in place. Weights alone have no loops and stay as they are.
    """
    loops = checkpoint.get("loops", {}).get(_LOOP)
    if loops is None:
        return
    batches = loops["epoch_loop.batch_progress"]
    if batches["is_last_batch"] or not batches["current"]["ready"]:
        return
    for counted in loops["epoch_progress"].values():
        if counted["processed"] == counted["started"] > 0:
            counted["processed"] -= 1
            counted["completed"] = min(counted["completed"], counted["processed"])


def check_length(cosine: CosineAnnealingLR, num_steps: int, *, rescale: bool) -> None:
    """Keep the schedule of a resumed fit, or bring it to the end of this one where it has another length.

    Args:
        cosine: The schedule as the stopped fit left it.
        num_steps: Steps of this fit, those before the stop included.
        rescale: Whether a rate that jumps is accepted.

    Raises:
        ValueError: If it would, and is not.
    """
    if cosine.T_max == num_steps:
        return
    share = (1 + math.cos(math.pi * min(cosine.last_epoch, num_steps) / num_steps)) / 2
    rates = [base * share for base in cosine.base_lrs]
    change = f"from {cosine.optimizer.param_groups[0]['lr']:.2g} to {rates[0]:.2g}"
    if not rescale:
        raise ValueError(
            f"the learning rate of the stopped fit falls to 0 over {cosine.T_max} steps, this fit has {num_steps}: "
            f"it would go {change}. Resume with the same trainer.max_epochs and max_steps, start a new fit, or accept "
            "it: --model.other_length=rescale"
        )
    logger.warning(
        "The learning rate of the stopped fit falls to 0 over %d steps, this fit has %d: it goes %s. The weights "
        "differ from those of a fit that had this length from the start.",
        cosine.T_max,
        num_steps,
        change,
    )
    cosine.T_max = num_steps
    for group, rate in zip(cosine.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def count_epochs(trainer: Trainer) -> None:
    """Let a resumed fit go on by its epochs, also where `max_steps` is set: ours have a length and a cursor.

    Lightning would otherwise go back into an epoch that ended, find no batch, and count it once more.
    """
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]


def leave_out_validation(trainer: Trainer) -> bool:
    """Whether a stop that was asked for after this batch would add a validation that the fit has no place for.

    It would move the schedule and choose among weights that a fit without the stop never validates.
    """
    fit = trainer.fit_loop
    if not (trainer.should_stop and fit._can_stop_early) or fit._data_fetcher is None:
        return False
    trainer.should_stop = False
    is_due = fit.epoch_loop._should_check_val_fx(fit._data_fetcher)
    trainer.should_stop = True
    return not is_due
