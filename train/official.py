"""The authors' published weights under our names.

Their classifier (class CLipClassifierWMapV6 of the repository luo3300612/LaRE) keeps a whole CLIP model, of which only
the visual tower is used, and a layer `conv_align` that its forward pass never calls: both are left out here. The
weights were trained with ImageNet's mean and standard deviation, so they belong into
`LareClassifier(normalization="imagenet")` with raw maps.
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

_UNUSED = re.compile(r"clip_model\.(?!visual\.)|conv_align\.")

_BLOCK_LAYERS = {"1": "conv1_1x1", "2": "conv2_kxk", "3": "conv3_1x1"}
_SHORTCUT_LAYERS = {"0": "conv", "1": "bn"}

# Left their name, right ours. The CLIP part is OpenAI's ModifiedResNet on the left and timm's ByobNet on the right.
_NET = "backbone.net"
_RULES: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"fc\.(weight|bias)", r"head.\1"),
    (r"conv\.(weight|bias)", r"spatial.error_bias.\1"),
    (r"attn_pool\.positional_embedding", "spatial.position"),
    (r"attn_pool\.attention\.fc_q\.(\w+)", r"spatial.query.\1"),
    (r"attn_pool\.attention\.fc_k\.(\w+)", r"spatial.key.\1"),
    (r"attn_pool\.attention\.fc_v\.(\w+)", r"spatial.value.\1"),
    (r"attn_pool\.attention\.fc_o\.(\w+)", r"spatial.output.\1"),
    (r"attn_pool\.layer_norm\.(\w+)", r"spatial.norm.\1"),
    (r"channel_align\.fc\.([02])\.weight", r"channel.weights.\1.weight"),
    (r"clip_model\.visual\.(conv|bn)(\d)\.(\w+)", rf"{_NET}.stem.conv\2.\1.\3"),
    (
        r"clip_model\.visual\.layer(\d)\.(\d+)\.(conv|bn)([123])\.(\w+)",
        lambda m: f"{_NET}.stages.{int(m[1]) - 1}.{m[2]}.{_BLOCK_LAYERS[m[4]]}.{m[3]}.{m[5]}",
    ),
    (
        r"clip_model\.visual\.layer(\d)\.(\d+)\.downsample\.([01])\.(\w+)",
        lambda m: f"{_NET}.stages.{int(m[1]) - 1}.{m[2]}.shortcut.conv.{_SHORTCUT_LAYERS[m[3]]}.{m[4]}",
    ),
    (r"clip_model\.visual\.attnpool\.positional_embedding", f"{_NET}.head.pos_embed"),
    (r"clip_model\.visual\.attnpool\.([qkv])_proj\.(\w+)", rf"{_NET}.head.\1.\2"),
    (r"clip_model\.visual\.attnpool\.c_proj\.(\w+)", rf"{_NET}.head.proj.\1"),
]


def convert_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' weights.

    Args:
        state: State dict of their CLipClassifierWMapV6 with CLIP RN50, with or without DataParallel's "module." prefix.

    Returns:
        A state dict that `LareClassifier()` loads strictly; the tensors are not copied.

    Raises:
        ValueError: If a name is not one of theirs.
    """
    names = {key: key.removeprefix("module.") for key in state}
    used = {key: name for key, name in names.items() if not _UNUSED.match(name)}
    converted = {key: _convert_name(name) for key, name in used.items()}
    unknown = sorted(key for key, name in converted.items() if name is None)
    if unknown:
        raise ValueError(
            f"not weights of CLipClassifierWMapV6: {len(unknown)} unknown names, the first is {unknown[0]!r}"
        )
    return {name: state[key] for key, name in converted.items() if name is not None}


def _convert_name(name: str) -> str | None:
    """Our name of one of the authors' parameters, or None if it is not theirs."""
    for pattern, replacement in _RULES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return None
