"""Copies between host and device that overlap with the models' work; on a CPU, nothing is copied."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Transfer:
    """Copies to a GPU and back, each direction on a stream of its own.

    While the models work on one batch, the next is on its way in and the last on its way out; no call here waits.

    Args:
        device: Where the models run.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._is_gpu = device.type == "cuda"
        if self._is_gpu:
            self._upload = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._download = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def to_device(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Start copies to the device; what is queued after this call waits for them.

        Args:
            tensors: In page-locked memory, if the device is a GPU: otherwise the copies are not asynchronous.
        """
        if not self._is_gpu:
            return list(tensors)
        with torch.cuda.stream(self._upload):
            moved = [t.to(self.device, non_blocking=True) for t in tensors]
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._upload)
        for tensor in moved:
            tensor.record_stream(current)  # or its memory could be given away while the models still read it
        return moved

    def to_host(self, tensor: Tensor) -> tuple[Tensor, Callable[[], object]]:
        """Start a copy to the host; the copy is there once the returned function has returned."""
        if not self._is_gpu:
            return tensor, lambda: None
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._download.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._download):
            host.copy_(tensor, non_blocking=True)
            tensor.record_stream(self._download)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        return host, event.synchronize
