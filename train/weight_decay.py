"""Which parameters weight decay pulls towards 0: weights that features are multiplied by, and nothing else."""

from typing import Any

from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from torch import nn

POSITIONS = ("position", "pos_embed")
"""Names of position embeddings: ours, and timm's of the attention pool."""


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The groups of an optimiser: norms, biases and position embeddings are not decayed.

    Decay keeps a layer's gain small. A norm's scale and a bias are no gain, and a position embedding is an input.

    Args:
        module: What is trained; parameters that do not learn are left out.
        weight_decay: Of all other parameters.

    Returns:
        As `torch.optim.Optimizer` takes them: two groups, or a single one without weight decay.
    """
    positions = [name for name, _ in module.named_parameters() if name.rpartition(".")[2] in POSITIONS]
    groups: list[dict[str, Any]] = param_groups_weight_decay(module, weight_decay, no_weight_decay_list=positions)
    return groups


def check_groups(checkpoint: dict[str, Any], module: nn.Module, weight_decay: float) -> None:
    """Refuse to resume a fit whose optimiser decayed other parameters: its state does not fit this one's groups.

    Args:
        checkpoint: As Lightning wrote it; weights alone have no optimiser and pass.
        module: As of `parameter_groups`.
        weight_decay: As of `parameter_groups`.

    Raises:
        ValueError: If the groups differ.
    """
    expected = [len(group["params"]) for group in parameter_groups(module, weight_decay)]
    for state in checkpoint.get("optimizer_states") or ():
        found = [len(group["params"]) for group in state["param_groups"]]
        if found != expected:
            raise ValueError(
                f"the checkpoint's optimiser has groups of {found} parameters, this fit's has {expected}. Other parts "
                "are trained, or it was saved by a version that decayed norms, biases and position embeddings too. "
                "Start a new fit, or resume with the settings and the version it was saved with."
            )
