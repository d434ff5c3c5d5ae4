"""What scores a picture and its map: the trained network, or the mean of the map alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cache_schema import ImageRejected, Status
from detect.detail import Detail, measure_detail
from detect.prepare import Prepared
from train import Detector as TrainedDetector
from train import DetectorFile, LareClassifier, View, generated_score, make_view, mean_lare

Scored = tuple[NDArray[np.float64], NDArray[np.float32] | None]
"""Scores (b,), higher for generated, and attention (b, h, w) or None."""


class Scorer(Protocol):
    """Gives each picture a score that is compared with those of the validation photographs."""

    def keep(self, image: Image.Image, canvas: NDArray[np.uint8]) -> Any:
        """What is kept of a picture until it is scored; little, whatever its size: many pictures wait at once.

        Raises:
            ImageRejected: If it cannot be scored.
        """

    def start(self, prepared: Sequence[Prepared], lare: NDArray[np.float32], *, explain: bool) -> "Started":
        """Queue the work on a batch; on a GPU nothing is waited for.

        Args:
            prepared: The pictures.
            lare: Their maps, (b, channels, h, w), finite.
            explain: Whether the attention is wanted.
        """


class Started(NamedTuple):
    """A batch whose scores are being computed, on the scorer's device."""

    logits: Tensor | None
    """(b, 2), column 1 generated."""
    scores: NDArray[np.float64] | None
    """(b,), where no network is asked."""
    attention: Tensor | None
    """(b, h, w)."""

    def finish(self) -> Scored:
        """Wait for the scores."""
        attention = None if self.attention is None else self.attention.float().cpu().numpy()
        if self.logits is None:
            assert self.scores is not None
            return self.scores, attention
        return generated_score(self.logits.float()).numpy(), attention


class Seen(NamedTuple):
    """What the network sees of a picture."""

    pixels: NDArray[np.uint8]
    """(crop_px, crop_px, 3)."""
    image_px: tuple[int, int]
    """Height and width of the upright picture."""


@dataclass(frozen=True)
class ClassifierScorer:
    """The trained network on one device, which sees image and map as `predict` does: in the view's centre box."""

    model: LareClassifier
    view: dict[str, str | int | None]
    canvas_px: int
    map_cells: int
    device: torch.device

    @classmethod
    def load(
        cls, folder: Path, description: DetectorFile, canvas_px: int, map_cells: int, device: torch.device
    ) -> "ClassifierScorer":
        """Load the network of a detector folder.

        Raises:
            ValueError: If its files do not belong together, or it says nothing of its view.
        """
        if description.view is None:
            raise ValueError(f"{folder}: its description names no view, so that nobody knows what its network sees")
        model = TrainedDetector.from_folder(folder).model.to(device)
        view = {name: description.view.get(name) for name in ("view", "alignment", "crop_px")}
        return cls(model, view, canvas_px, map_cells, device)

    def keep(self, image: Image.Image, canvas: NDArray[np.uint8]) -> Seen:
        """The view's centre box, of the canvas or of the picture at its own size."""
        crop_px = int(self.view["crop_px"] or 0)
        if self.view["alignment"] == "crop" and min(image.size) < crop_px:
            reason = f"{image.width} x {image.height} pixels, the detector needs {crop_px} a side"
            raise ImageRejected(Status.UNREADABLE, reason)
        image_px = image.height, image.width
        frame = canvas if self.view["view"] == "canvas" else np.asarray(image)
        view = self._view_of(image_px)
        return Seen(view.cut_image(frame, view.centre()).copy(), image_px)

    def start(self, prepared: Sequence[Prepared], lare: NDArray[np.float32], *, explain: bool) -> Started:
        """Queue the network's work."""
        maps = []
        for picture, whole in zip(prepared, lare, strict=True):
            view = self._view_of(picture.kept.image_px)
            maps.append(view.cut_map(whole, view.centre()))
        images = [picture.kept.pixels for picture in prepared]
        image = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        lare_cut = torch.from_numpy(np.ascontiguousarray(np.stack(maps), dtype=np.float32))
        if self.device.type == "cuda":
            image, lare_cut = (t.pin_memory().to(self.device, non_blocking=True) for t in (image, lare_cut))
        with torch.inference_mode():
            logits = self.model(image, lare_cut)
            attention = self._attend(image, lare_cut) if explain else None
        return Started(logits, None, attention)

    def _view_of(self, image_px: tuple[int, int]) -> View:
        alignment = self.view["alignment"]
        return make_view(
            str(self.view["view"]),
            None if alignment is None else str(alignment),
            int(self.view["crop_px"] or 0),
            canvas_px=self.canvas_px,
            map_cells=self.map_cells,
            image_px=lambda: image_px,
        )

    def _attend(self, image: Tensor, lare: Tensor) -> Tensor | None:
        """Attention of the spatial refinement over its grid, (b, h, w), mean over heads; None without one."""
        model = self.model
        if not model.needs_image or model.spatial is None:
            return None
        feature_map, _ = model.backbone(image)
        lare = lare.log1p() if model.map_transform == "log" else lare
        weights = model.spatial.attention_weights(feature_map, lare).mean(dim=1)[:, 1:]
        return weights.reshape(len(weights), *model.spatial.grid)


@dataclass(frozen=True)
class MeanScorer:
    """Minus the mean of the map, or what is left of it once the picture's local detail has told its part.

    Attributes:
        detail: The regression; None: the mean alone.
        grid: Height and width of the map.
    """

    detail: Detail | None
    grid: tuple[int, int]

    @classmethod
    def of(cls, folder: Path, description: DetectorFile, grid: tuple[int, int]) -> "MeanScorer":
        """The scorer that a detector's description asks for.

        Raises:
            ValueError: If its regression cannot be read.
        """
        try:
            return cls(None if description.detail is None else Detail.from_dict(description.detail), grid)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error

    def keep(self, image: Image.Image, canvas: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The picture's local detail, (features,), float64; nothing where only the mean is asked for."""
        return np.empty(0) if self.detail is None else measure_detail(canvas, self.grid)

    def start(self, prepared: Sequence[Prepared], lare: NDArray[np.float32], *, explain: bool) -> Started:
        """Score at once: there is no network."""
        scores = mean_lare(lare)
        if self.detail is not None:
            scores = self.detail.score(np.stack([picture.kept for picture in prepared]), -scores)
        return Started(None, scores, None)
