"""Copies to the device and back, under stress: buffers released at once, a device that lags at random."""

import random

import torch

from bench.gpu.outcome import Outcome, judged
from bench.gpu.setting import Setting
from extract.run.transfer import Transfer

_MAX_CYCLES = 3_000_000  # a millisecond or two


def check_transfer(setting: Setting) -> list[Outcome]:
    """As many batches as a tar has, compared bit by bit with what they must be."""
    num_batches, rng = setting.sized(300, 20), random.Random(0)
    transfer = Transfer(setting.device)
    waiting, num_wrong = [], 0
    for number in range(num_batches):
        values = torch.Generator().manual_seed(number)
        batch = torch.randn(16, 3, setting.sized(256, 16), setting.sized(256, 16), generator=values)
        (moved,) = transfer.to_device([batch.pin_memory() if setting.is_gpu else batch])
        if setting.is_gpu:
            torch.cuda._sleep(rng.randrange(_MAX_CYCLES))
        result, wait = transfer.to_host(moved * 2 + 1)
        # The page-locked buffer is given back while its copy may still be on its way; the next batch takes it.
        del moved
        waiting.append((batch * 2 + 1, result, wait))
        if len(waiting) > 2:
            num_wrong += _is_wrong(*waiting.pop(0))
    num_wrong += sum(_is_wrong(*each) for each in waiting)
    return [judged("transfer", f"{num_wrong} of {num_batches} batches differ from the host's", not num_wrong)]


def _is_wrong(expected: torch.Tensor, result: torch.Tensor, wait: object) -> bool:
    assert callable(wait)
    wait()
    return not torch.equal(expected, result)
