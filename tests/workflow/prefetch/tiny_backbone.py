"""A CLIP ResNet in miniature, registered with timm as its users register theirs: weights of one megabyte."""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg, checkpoint_filter_fn

NAME = "resnet8_clip"
REPOSITORY = "tests/resnet8_clip.tiny"
_CONFIG = ByoModelCfg(
    blocks=tuple(ByoBlockCfg(type="bottle", d=1, c=c, s=s, br=0.25) for c, s in ((64, 1), (64, 2), (64, 2), (64, 2))),
    stem_chs=(8, 8, 16),
    stem_type="",
    stem_pool="avg2",
    downsample="avg",
    aa_layer="avg",
    head_type="attn_abs",
)

default_cfgs = generate_default_cfgs(
    {
        f"{NAME}.tiny": {
            "hf_hub_id": REPOSITORY,
            "num_classes": 32,
            "input_size": (3, 64, 64),
            "fixed_input_size": True,
            "pool_size": (2, 2),
            "first_conv": "stem.conv1.conv",
            "classifier": "head.proj",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
        }
    }
)


@register_model
def resnet8_clip(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    return build_model_with_cfg(
        ByobNet,
        NAME,
        pretrained,
        model_cfg=_CONFIG,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"flatten_sequential": True},
        **kwargs,
    )
