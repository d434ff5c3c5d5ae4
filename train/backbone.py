"""CLIP ResNets of timm, giving the feature map that LaRE refines and the globally pooled vector in one pass."""

import pickle
from pathlib import Path
from typing import Literal

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from torch import Tensor, nn

from train.weights import fetch_backbone

Normalization = Literal["clip", "imagenet"]
_MEAN_STD = {
    "clip": (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD),
    "imagenet": (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
}

TINY_NAME = "resnet_tiny_clip"
# CLIP's ResNet in miniature, for small pictures on a CPU: same stem, blocks and attention pool. Built with
# output_stride 8, so that its last stage is dilated instead of strided: a 56 px image gives a 7 × 7 feature map.
_TINY = ByoModelCfg(
    blocks=(
        ByoBlockCfg(type="bottle", d=1, c=64, s=1, br=0.25),
        ByoBlockCfg(type="bottle", d=2, c=128, s=2, br=0.25),
        ByoBlockCfg(type="bottle", d=1, c=192, s=2, br=0.25),
    ),
    stem_chs=(16, 16, 32),
    stem_type="",
    stem_pool="avg2",
    downsample="avg",
    aa_layer="avg",
    head_type="attn_abs",
)
_TINY_POOLED_FEATURES = 128


class WrongImageSize(ValueError):
    """The side of the images does not fit the network."""


class ImageBackbone(nn.Module):
    """Normalises images and computes a timm CLIP ResNet's features.

    Attributes:
        feature_channels: Channels of the feature map (the last stage but one).
        grid: Height and width of the feature map, in cells.
        pooled_features: Length of the attention-pooled vector.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str = "resnet50_clip",
        pretrained: bool | str = False,
        image_size: int = 224,
        normalization: Normalization = "clip",
        freeze: bool = False,
    ) -> None:
        """Build the network, and load its weights where asked.

        Args:
            name: A timm CLIP ResNet ("resnet50_clip", …), or "resnet_tiny_clip" (random weights only).
            pretrained: True for CLIP's weights by timm from the hub, or the path of a local weights file.
            image_size: Side of the square images, in pixels; a multiple of the network's stride.
            normalization: Whose mean and standard deviation the images are brought to.
            freeze: Whether weights and batch-norm statistics stay as they are.

        Raises:
            ValueError: If the network, its pretrained variant or the weights file is unknown.
            WrongImageSize: If the size does not fit.
        """
        super().__init__()
        self.net = _build_net(name, pretrained, image_size)
        feature = self.net.feature_info[-2]
        stride = self.net.feature_info[-1]["reduction"]
        if image_size % stride:
            raise WrongImageSize(f"image_size is {image_size}, {name} needs a multiple of {stride}")
        self.feature_channels: int = feature["num_chs"]
        self.pooled_features: int = self.net.num_classes
        self.grid = (image_size // feature["reduction"],) * 2
        self.freeze = freeze
        if freeze:
            self.net.requires_grad_(False)
        for buffer, values in zip(("mean", "std"), _MEAN_STD[normalization], strict=True):
            self.register_buffer(buffer, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "ImageBackbone":
        """Switch to training or evaluation mode; a frozen network stays in evaluation mode."""
        super().train(mode)
        if self.freeze:
            self.net.eval()
        return self

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both features; every stage runs once.

        Args:
            image: (batch, 3, image_size, image_size), float in [0, 1] or uint8 in [0, 255].

        Returns:
            Feature map (batch, feature_channels, *grid) and x_g (batch, pooled_features).
        """
        inputs = normalize(image, self.mean, self.std)
        last, (feature_map,) = self.net.forward_intermediates(inputs, indices=[-2])
        return feature_map, self.net.forward_head(last)


def normalize(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Bring images to zero mean and unit variance.

    Args:
        image: (batch, 3, h, w), float in [0, 1] or uint8 in [0, 255].
        mean: (1, 3, 1, 1), of images in [0, 1].
        std: As `mean`.

    Returns:
        (batch, 3, h, w), in the type of `mean`; of bytes in channels-last memory.
    """
    if image.dtype != torch.uint8:
        return (image - mean) / std
    # On a CPU memory is the limit: one pass over the copy, and whole rows of channels-last memory at a time, as
    # broadcasting over its three channels would take twice as long.
    pixels = image.permute(0, 2, 3, 1)
    scale, shift = (1 / (255 * std)).flatten(), (-mean / std).flatten()
    rows, width = pixels.flatten(2).to(mean.dtype), pixels.shape[2]
    torch.addcmul(shift.repeat(width), rows, scale.repeat(width), out=rows)
    return rows.view(pixels.shape).permute(0, 3, 1, 2)


def _build_net(name: str, pretrained: bool | str, image_size: int) -> ByobNet:
    """The timm network with its projection to the pooled vector; raises ValueError as `ImageBackbone` does."""
    if name == TINY_NAME:
        if pretrained:
            raise ValueError(f"{TINY_NAME} has no pretrained weights; use pretrained: false")
        return ByobNet(_TINY, num_classes=_TINY_POOLED_FEATURES, img_size=image_size, output_stride=8)
    known = timm.list_models("resnet*_clip")
    if name not in known:
        raise ValueError(f"backbone is {name!r}, expected {TINY_NAME} or one of timm's {', '.join(known)}")
    overlay = None
    if isinstance(pretrained, str) and not Path(pretrained).is_file():
        raise ValueError(f"pretrained is {pretrained!r}, which is neither true, false nor a file of weights")
    if pretrained:
        weights = Path(pretrained) if isinstance(pretrained, str) else fetch_backbone(name)
        _check_weights(weights)
        registered = timm.get_pretrained_cfg(name)
        assert registered is not None
        overlay = {"file": str(weights), "num_classes": registered.num_classes}
    net = timm.create_model(name, pretrained=bool(pretrained), pretrained_cfg_overlay=overlay)
    assert isinstance(net, ByobNet)
    return net


def _check_weights(path: Path) -> None:
    """Raise ValueError unless a file holds tensors and plain values alone: older versions of timm run its pickle."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt"):
                return
        torch.load(path, map_location="meta", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, SafetensorError) as error:
        reason = " ".join(str(error).partition("\n")[0].split())[:200]
        raise ValueError(f"pretrained is {str(path)!r}, which cannot be read as weights alone: {reason}") from error
