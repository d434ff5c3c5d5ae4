"""From a plan to tensors: any worker builds any batch, and the cursor counts the batches that were handed out."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cache_schema import allow_lost_reader, fork_server, share_turns, start_fork_server
from train.data.ahead import AheadOfPlan
from train.data.augment import NO_CHANGES, ImageChanges
from train.data.join import Join
from train.data.joined_tar import JoinedTar, load_pixels
from train.data.samples import Samples
from train.data.views import Placement, View

Batch = dict[str, Tensor]
"""What `BatchReader` builds: image, lare, label, and the row in the whole index of each sample."""
Where = tuple[np.ndarray, np.ndarray]
"""Tar of each sample of a batch, and its row in it, as `Samples.places_of`."""


class BatchReader(Dataset[Batch]):
    """Builds whole batches; item (epoch, positions) is the batch of these samples.

    Tars are opened when first needed and the last few are kept, so that a worker holds the maps of one block of the
    plan. Nothing that is open is sent to a worker.

    Args:
        join: Dataset and caches.
        samples: The samples that positions point into.
        view: What is cut of image and map.
        seed: Seed of the random boxes and changes; None takes the centre box and changes nothing.
        flip: Whether random boxes are also mirrored.
        changes: What is done to images alone, at their own size.
        map_positions: For each sample the position of the one whose map it gets; None: its own.
        constant_map: The map that every sample gets, (channels, h, w); None: its own, or as `map_positions` says.
        maps: Whether batches have maps.
        images: Whether batches have images.
        open_tars: Tars kept open.
    """

    def __init__(
        self,
        join: Join,
        samples: Samples,
        view: View,
        *,
        seed: int | None = None,
        flip: bool = False,
        changes: ImageChanges = NO_CHANGES,
        map_positions: np.ndarray | None = None,
        constant_map: np.ndarray | None = None,
        maps: bool = True,
        images: bool = True,
        open_tars: int = 2,
    ) -> None:
        self.samples = samples
        self._join, self._view = join, view
        self._seed, self._flip, self._changes = seed, flip, changes
        self._map_positions, self._constant_map = map_positions, constant_map
        self._maps, self._images = maps, images
        self._open_tars = open_tars
        self._opened: OrderedDict[int, JoinedTar] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": OrderedDict()}

    def close(self) -> None:
        """Close the tars and let go of their maps; the next batch opens what it needs."""
        self._opened.clear()

    def copy_ahead(self, order: Iterable[tuple[int, np.ndarray]]) -> AheadOfPlan:
        """What copies tars and stores in object storage before batches need them, as a context.

        Args:
            order: Batches as they will be asked for.
        """
        join = self._join
        originals = partial(join.originals, maps=self._maps, images=self._images)
        # Where all lies on this machine the order is not even followed.
        plan = (self.samples.tars_of(positions) for _, positions in order) if join.is_remote else ()
        return AheadOfPlan(plan, originals, self._open_tars * (1 + len(join.caches)))

    def __getitem__(self, index: tuple[int, np.ndarray]) -> Batch:
        """Build a batch.

        Args:
            index: Epoch and positions (b,).

        Returns:
            `image` (b, 3, S, S) uint8, in channels-last memory as files are decoded to, and `lare` (b, channels, h, w)
            float32, cut by the same boxes, as far as asked for; `label` (b,) int64, `NO_LABEL` for a control; `row`
            (b,) int64, row in the whole index.

        Raises:
            CacheError: If a tar or a store cannot be used.
        """
        epoch, positions = index
        where = self.samples.places_of(positions)
        rows = self.samples.rows_at(*where)
        batch = {"label": self.samples.labels_of(rows), "row": rows}
        places = self._place(where, epoch)
        if self._images:
            batch["image"] = self._load_images(where, places, epoch)
        if self._maps:
            donors = None if self._map_positions is None else self._map_positions[positions]
            batch["lare"] = self._load_maps(where if donors is None else self.samples.places_of(donors), places)
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def _place(self, where: Where, epoch: int) -> list[Placement]:
        places = [self._view.centre()] * len(where[0])
        if self._seed is not None:
            for i, tar, row in self._by_tar(where):
                places[i] = self._view.random(self._seed, epoch, tar.keys[row], flip=self._flip)
        return places

    def _load_images(self, where: Where, places: list[Placement], epoch: int) -> np.ndarray:
        images = np.empty((len(places), self._view.crop_px, self._view.crop_px, 3), dtype=np.uint8)
        for i, tar, row in self._by_tar(where):
            seed = self._seed
            if seed is not None and self._changes.changes(seed, epoch, tar.keys[row]):
                # Also where there are canvases: a picture is changed at its own size.
                pixels = self._changes.apply(load_pixels(tar, row), seed, epoch, tar.keys[row])
            else:
                pixels = load_pixels(tar, row) if tar.canvases is None else tar.read_canvas(row)
            images[i] = self._view.cut_image(self._view.frame(pixels), places[i])
        return images.transpose(0, 3, 1, 2)

    def _load_maps(self, where: Where, places: list[Placement]) -> np.ndarray:
        if self._constant_map is not None:
            return np.stack([self._view.cut_map(self._constant_map, place) for place in places]).astype(np.float32)
        maps: np.ndarray | None = None
        for i, tar, row in self._by_tar(where):
            assert tar.lare is not None
            cut = self._view.cut_map(tar.lare[row], places[i])
            if maps is None:
                maps = np.empty((len(places), *cut.shape), dtype=cut.dtype)
            maps[i] = cut
        assert maps is not None
        return torch.from_numpy(maps).float().numpy()  # numpy takes long to widen half precision

    def _by_tar(self, where: Where) -> Iterator[tuple[int, JoinedTar, int]]:
        """Place in the batch, tar, and row in the tar of each sample: tar by tar, open tars first."""
        tars, tar_rows = where
        for n in sorted(set(tars.tolist()), key=lambda n: (n not in self._opened, n)):
            tar = self._open(n)
            for i in np.flatnonzero(tars == n):
                yield int(i), tar, int(tar_rows[i])

    def _open(self, n: int) -> JoinedTar:
        if n not in self._opened:
            while len(self._opened) >= self._open_tars:
                self._opened.popitem(last=False)
            maps = self._maps and self._constant_map is None
            self._opened[n] = self._join.load_tar(n, maps=maps, images=self._images)
        self._opened.move_to_end(n)
        return self._opened[n]


Plan = Callable[[int, int], Iterable[np.ndarray]]


class _Order:
    """Epoch and positions of each batch, from a step on, worked out as they are asked for."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self.epoch, self.start = plan, 0, 0

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        epoch = self.epoch
        return ((epoch, positions) for positions in self._plan(epoch, self.start))


class PlannedLoader:
    """Batches of one rank in the order of a plan, whatever the number of workers.

    It is no DataLoader, only has one: Lightning would put its own sampler into a DataLoader.

    Args:
        reader: Builds a batch from (epoch, positions).
        plan: Epoch and a step of it → positions of each batch from this step on.
        num_batches: Length of every epoch's plan.
        num_workers: Processes that build batches; 0 builds them in this one.
        start_method: How workers start, "fork", "spawn" or "forkserver"; None: the platform's way.

    Attributes:
        reader: As the argument; single batches can be read with it.
    """

    def __init__(
        self,
        reader: BatchReader,
        plan: Plan,
        num_batches: int,
        *,
        num_workers: int,
        start_method: str | None = None,
    ) -> None:
        self.reader, self._num_batches = reader, num_batches
        self._num_workers, self._start_method = num_workers, start_method
        self._order = _Order(plan)
        self._loader: DataLoader[Batch] | None = None

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[Batch]:
        return self._batches(epoch=0, start=0)

    def close(self) -> None:
        """End the workers and close the tars; another pass opens them anew."""
        self._loader = None
        self.reader.close()

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        # Workers live as long as the DataLoader does; it takes the new order from the same object at every pass.
        self._order.epoch, self._order.start = epoch, start
        if self._loader is None:
            if self._num_workers > 0:
                share_turns()
            if self._start_method == "forkserver":  # imports once what each worker would import for itself
                fork_server([__name__])
                start_fork_server()
            self._loader = DataLoader(
                self.reader,
                batch_size=None,
                sampler=self._order,
                num_workers=self._num_workers,
                persistent_workers=self._num_workers > 0,
                pin_memory=torch.cuda.is_available(),
                worker_init_fn=allow_lost_reader,
                multiprocessing_context=self._start_method if self._num_workers else None,
                generator=torch.Generator(),  # or every pass would draw a number from the model's random stream
            )
        with self.reader.copy_ahead(self._order) as ahead:
            for step, batch in enumerate(self._loader, start):
                ahead.reach(step - start)
                if step + 1 == self._num_batches:
                    break
                yield batch
            else:
                return
        # Nothing is left to do when nobody asks for more. Python would do it while it forgets the generator, where a
        # Ctrl-C is lost.
        yield batch


class TrainingLoader(PlannedLoader):
    """A loader with a cursor: the epoch, and its batches handed out so far, which equal the steps taken.

    Attributes:
        epoch: Epoch that runs, or runs next.
        step: Batches of it that were handed out.
    """

    epoch = 0
    step = 0

    @property
    def sampler(self) -> "TrainingLoader":
        """Where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, or leave the cursor where it is in this one."""
        if epoch != self.epoch:
            self.epoch, self.step = epoch, 0

    def __iter__(self) -> Iterator[Batch]:
        # A generator, so that nothing is planned before the first batch is asked for: Lightning calls iter() before
        # it calls set_epoch().
        if self.step == len(self):
            self.step = 0
        for batch in self._batches(self.epoch, self.step):
            self.step += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The cursor."""
        return {"epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken."""
        self.epoch, self.step = state["epoch"], state["step"]
