"""A fit that is stopped within an epoch goes on in it: what Lightning's loops (2.6) need to be told for that.

A fit is stopped by a number of steps, by a time, by a signal or by a callback. Lightning counts an epoch that was ended
so as a whole one, validates in its middle where a time ended it, and skips an epoch where a number of steps is set.
"""

from typing import Any

from lightning import Trainer

_LOOP = "fit_loop"


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
