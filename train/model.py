"""The detector: backbone, error-guided refinement and a linear head; its variants are constructor options."""

from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.resnet import BasicBlock, downsample_conv
from torch import Tensor, nn

from train.backbone import ImageBackbone, Normalization
from train.egre import ErrorGuidedChannelRefinement, ErrorGuidedSpatialRefinement
from train.hyperparameters import read_record, read_settings

WEIGHTS_NAME = "model.safetensors"


class LareClassifier(nn.Module, PyTorchModelHubMixin, paper_url="https://arxiv.org/abs/2403.17465"):
    """Tells generated images (column 1 of the logits) from photographs (column 0).

    | variant | options |
    | --- | --- |
    | LaRE²: head over (x_g, x_s, x_c) | the defaults |
    | one refinement only | `spatial=False` or `channel=False` |
    | image only | `spatial=False, channel=False` |
    | plain concatenation: head over (x_g, map pooled to the grid) | `spatial=False, channel=False, concat=True` |
    | map only: a small ResNet on the map | `image=False`; the options of image and refinement then mean nothing |

    `save_pretrained(folder)` writes config.json (the arguments) and model.safetensors, `from_pretrained(folder or hub
    id)` reads them; `python -m train export` makes such a folder from a checkpoint.

    Attributes:
        needs_image: Whether `forward` reads the image.
        needs_lare: Whether `forward` reads the map.
        image_size: As the argument.
        record: As the argument.
    """

    def __init__(
        self,
        backbone: str = "resnet50_clip",
        pretrained: bool | str = False,
        map_channels: int = 4,
        image_size: int = 224,
        spatial: bool = True,
        channel: bool = True,
        image: bool = True,
        concat: bool = False,
        normalization: Normalization = "clip",
        freeze_backbone: bool = False,
        map_transform: Literal["none", "log"] = "none",
        record: dict[str, Any] | None = None,
    ) -> None:
        """Build one variant.

        Args:
            backbone: A timm CLIP ResNet, or "resnet_tiny_clip".
            pretrained: True for CLIP's weights from the hub, or the path of a local weights file.
            map_channels: Channels of the LaRE map, as many as the latents have.
            image_size: Side of the square images, in pixels.
            spatial: Whether the head sees x_s (ESR).
            channel: Whether the head sees x_c (ECR).
            image: Whether the image is read; without it a small ResNet reads the map alone.
            concat: Whether the head sees the pooled map itself.
            normalization: Mean and standard deviation of the images: CLIP's, or ImageNet's for the authors' weights.
            freeze_backbone: Whether the backbone keeps its weights and statistics.
            map_transform: "none" for the raw map (the authors'), "log" for log(1 + map), whose tail is short.
            record: Facts that belong to the weights, as plain values: calibration, features, view, code.

        Raises:
            ValueError: If the backbone cannot be built as asked.
        """
        super().__init__()
        self.record = record
        self.image_size = image_size
        self.map_transform = map_transform
        self.needs_image = image
        self.needs_lare = spatial or channel or concat or not image
        if not image:
            self.map_net = MapNet(map_channels)
            return
        self.backbone = ImageBackbone(backbone, pretrained, image_size, normalization, freeze_backbone)
        channels, grid = self.backbone.feature_channels, self.backbone.grid
        self.spatial = ErrorGuidedSpatialRefinement(channels, map_channels, grid) if spatial else None
        self.channel = ErrorGuidedChannelRefinement(channels, map_channels) if channel else None
        self.concat = nn.Sequential(nn.AdaptiveAvgPool2d(grid), nn.Flatten()) if concat else None
        map_features = map_channels * grid[0] * grid[1] if concat else 0
        self.head = nn.Linear(self.backbone.pooled_features + (spatial + channel) * channels + map_features, 2)

    def forward(self, image: Tensor | None = None, lare: Tensor | None = None) -> Tensor:
        """Compute logits.

        Args:
            image: (batch, 3, image_size, image_size), float in [0, 1] or uint8; may be None for map only.
            lare: Raw LaRE maps, (batch, map_channels, any height, any width), >= 0; may be None for image only.

        Returns:
            (batch, 2), column 1 generated.

        Raises:
            ValueError: If an input that this variant reads is missing.
        """
        if self.needs_lare:
            if lare is None:
                raise ValueError("this classifier reads the LaRE map, and got none")
            lare = lare.log1p() if self.map_transform == "log" else lare
        if not self.needs_image:
            logits: Tensor = self.map_net(lare)
            return logits
        if image is None:
            raise ValueError("this classifier reads the image, and got none")
        feature_map, pooled = self.backbone(image)
        parts = [pooled]
        parts += [refine(feature_map, lare) for refine in (self.spatial, self.channel) if refine is not None]
        if self.concat is not None:
            parts.append(self.concat(lare))
        return _apply_head(self.head, torch.cat(parts, dim=1))

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        strict: bool = True,
        **model_kwargs: Any,
    ) -> "LareClassifier":
        """Load for `from_pretrained`; unlike the mixin's own method it reads no pickle and leaves no weights out.

        Raises:
            ValueError: If config.json or model.safetensors is missing, or of another class.
        """
        if "backbone" not in model_kwargs:  # the mixin goes on without a config.json, and with any other
            raise ValueError(
                f"{model_id} has no config.json of a LareClassifier: export one with python -m train export"
            )
        path = Path(model_id, WEIGHTS_NAME)
        if not Path(model_id).is_dir():
            downloaded = hf_hub_download(
                model_id,
                WEIGHTS_NAME,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
            path = Path(str(downloaded))
        if not path.is_file():
            raise ValueError(f"{model_id} has no {WEIGHTS_NAME}")
        try:
            settings, record = read_settings(model_kwargs, cls), read_record(model_kwargs.get("record"))
        except ValueError as error:
            raise ValueError(f"{model_id}: config.json is none of a LareClassifier: {error}") from error
        model = cls(**settings, record=record)
        try:
            model.load_state_dict(load_file(path, device=map_location), strict=strict)
        except (SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path} does not hold what config.json beside it describes: {reason}") from error
        return model.to(map_location).eval()


class MapNet(nn.Module):
    """A small ResNet that reads a LaRE map of any size: stem, three stages of two basic blocks, mean, linear."""

    def __init__(self, map_channels: int = 4, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        """Build with random weights.

        Args:
            map_channels: Channels of the LaRE map.
            widths: Channels of the stages; each after the first halves the map's sides.
        """
        super().__init__()
        self.norm = nn.BatchNorm2d(map_channels)
        self.stem = nn.Sequential(
            nn.Conv2d(map_channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        stages: list[nn.Module] = []
        previous = widths[0]
        for number, width in enumerate(widths):
            stride = 1 if number == 0 else 2
            shortcut = downsample_conv(previous, width, 1, stride) if number else None
            stages += [BasicBlock(previous, width, stride, shortcut), BasicBlock(width, width)]
            previous = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(previous, 2)

    def forward(self, lare: Tensor) -> Tensor:
        """Compute logits (batch, 2) of maps (batch, map_channels, any height, any width)."""
        return _apply_head(self.head, self.stages(self.stem(self.norm(lare))).mean(dim=(2, 3)))


def _apply_head(head: nn.Linear, features: Tensor) -> Tensor:
    """Logits (batch, 2), float32 also under autocast: in bfloat16 100,000 images have 2,700 distinct scores."""
    with torch.autocast(features.device.type, enabled=False):
        logits: Tensor = head(features.to(head.weight.dtype))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
