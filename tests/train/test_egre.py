"""ESR and ECR: hand-computed cases, sizes, and what must not matter."""

import pytest
import torch
from torch import Tensor

from train.egre import ErrorGuidedChannelRefinement, ErrorGuidedSpatialRefinement


def _plain_attention(esr: ErrorGuidedSpatialRefinement, feature_map: Tensor, lare: Tensor) -> Tensor:
    """ESR of one image written out: softmax(Q Kᵀ / sqrt(d) + E W_E) V head by head, then residual and norm."""
    cells = feature_map[0].flatten(1).T
    tokens = torch.cat([cells.mean(0, keepdim=True), cells]) + esr.position
    rows, columns = esr.grid
    pooled = lare[0].unflatten(1, (rows, -1)).unflatten(3, (columns, -1)).mean(dim=(2, 4))
    error = torch.einsum("hc,cyx->hyx", esr.error_bias.weight[:, :, 0, 0], pooled) + esr.error_bias.bias[:, None, None]
    error = torch.cat([error.flatten(1).mean(1, keepdim=True), error.flatten(1)], dim=1)
    query, key, value = esr.query(tokens[:1]), esr.key(tokens), esr.value(tokens)
    heads = []
    for head, (q, k, v) in enumerate(zip(*(x.chunk(esr.num_heads, dim=1) for x in (query, key, value)), strict=True)):
        weights = torch.softmax(q @ k.T / q.shape[1] ** 0.5 + error[head], dim=1)
        heads.append(weights @ v)
    return esr.norm(tokens[:1] + esr.output(torch.cat(heads, dim=1)))


def test_esr_equals_attention_written_out() -> None:
    torch.manual_seed(0)
    esr = ErrorGuidedSpatialRefinement(channels=6, map_channels=3, grid=(2, 4), num_heads=2, head_dim=5).eval()
    feature_map, lare = torch.randn(1, 6, 2, 4), torch.rand(1, 3, 6, 8) * 5
    torch.testing.assert_close(esr(feature_map, lare), _plain_attention(esr, feature_map, lare))


def test_attention_weights_are_those_that_the_output_is_made_with() -> None:
    torch.manual_seed(0)
    esr = ErrorGuidedSpatialRefinement(channels=6, map_channels=3, grid=(2, 4), num_heads=2, head_dim=5).eval()
    feature_map, lare = torch.randn(2, 6, 2, 4), torch.rand(2, 3, 6, 8) * 5
    weights = esr.attention_weights(feature_map, lare)
    assert weights.shape == (2, 2, 9)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 2))
    cells = feature_map.flatten(2).transpose(1, 2)
    tokens = torch.cat([cells.mean(1, keepdim=True), cells], dim=1) + esr.position
    values = esr.value(tokens).unflatten(2, (2, 5)).transpose(1, 2)  # (batch, head, token, dim)
    attended = (weights.unsqueeze(2) @ values).squeeze(2).flatten(1)
    torch.testing.assert_close(esr(feature_map, lare), esr.norm(tokens[:, 0] + esr.output(attended)))


def test_esr_attends_only_where_the_error_is_overwhelming() -> None:
    torch.manual_seed(0)
    esr = ErrorGuidedSpatialRefinement(channels=4, map_channels=1, grid=(2, 2), num_heads=1, head_dim=4).eval()
    with torch.no_grad():
        esr.error_bias.weight.fill_(1.0)
        esr.position.zero_()
    feature_map = torch.randn(1, 4, 2, 2)
    lare = torch.zeros(1, 1, 2, 2)
    lare[0, 0, 1, 0] = 1000.0
    chosen = feature_map[0, :, 1, 0]
    expected = esr.norm(feature_map.mean(dim=(2, 3)) + esr.output(esr.value(chosen)))
    torch.testing.assert_close(esr(feature_map, lare), expected)


def test_esr_ignores_an_error_that_is_the_same_everywhere() -> None:
    esr = ErrorGuidedSpatialRefinement(channels=4, map_channels=2, grid=(3, 3), num_heads=2, head_dim=2).eval()
    feature_map = torch.randn(2, 4, 3, 3)
    flat = torch.full((2, 2, 9, 9), 0.7)
    torch.testing.assert_close(esr(feature_map, flat), esr(feature_map, torch.zeros_like(flat)))


@pytest.mark.parametrize("map_size", [(14, 14), (32, 32), (28, 5)])
@pytest.mark.parametrize("batch", [1, 3])
def test_egre_gives_a_vector_an_image_for_any_map_size(map_size: tuple[int, int], batch: int) -> None:
    esr = ErrorGuidedSpatialRefinement(channels=8, map_channels=2, grid=(7, 5), num_heads=2, head_dim=4).eval()
    ecr = ErrorGuidedChannelRefinement(channels=8, map_channels=2, hidden=3)
    feature_map, lare = torch.randn(batch, 8, 7, 5), torch.rand(batch, 2, *map_size)
    assert esr(feature_map, lare).shape == ecr(feature_map, lare).shape == (batch, 8)


def test_egre_of_an_image_does_not_depend_on_its_batch() -> None:
    esr = ErrorGuidedSpatialRefinement(channels=8, map_channels=2, grid=(3, 3), num_heads=2, head_dim=4).eval()
    ecr = ErrorGuidedChannelRefinement(channels=8, map_channels=2)
    feature_map, lare = torch.randn(4, 8, 3, 3), torch.rand(4, 2, 6, 6)
    for module in (esr, ecr):
        together = module(feature_map, lare)
        torch.testing.assert_close(module(feature_map[2:3], lare[2:3]), together[2:3])


def test_esr_refuses_a_feature_map_of_another_grid() -> None:
    esr = ErrorGuidedSpatialRefinement(channels=4, map_channels=2, grid=(3, 3), num_heads=1, head_dim=4)
    with pytest.raises(ValueError, match=r"feature map is \(2, 3\) cells, positions were built for \(3, 3\)"):
        esr(torch.randn(1, 4, 2, 3), torch.rand(1, 2, 6, 6))


def test_esr_drops_attention_only_while_training() -> None:
    torch.manual_seed(0)
    esr = ErrorGuidedSpatialRefinement(channels=4, map_channels=2, grid=(3, 3), num_heads=2, head_dim=2, dropout=0.5)
    inputs = torch.randn(1, 4, 3, 3), torch.rand(1, 2, 3, 3)
    assert not torch.equal(esr(*inputs), esr(*inputs))
    esr.eval()
    assert torch.equal(esr(*inputs), esr(*inputs))


def test_ecr_weights_the_mean_feature_by_hand() -> None:
    ecr = ErrorGuidedChannelRefinement(channels=2, map_channels=1, hidden=1)
    with torch.no_grad():
        ecr.weights[0].weight.fill_(2.0)
        ecr.weights[2].weight.copy_(torch.tensor([[0.0], [1.0]]))
    feature_map = torch.tensor([[[[1.0, 3.0]], [[4.0, 8.0]]]])  # means 2 and 6
    lare = torch.tensor([[[[0.0, 1.0]]]])  # mean 0.5; hidden relu(2 · 0.5) = 1
    expected = torch.tensor([[2 * 0.5, 6 * torch.sigmoid(torch.tensor(1.0)).item()]])
    torch.testing.assert_close(ecr(feature_map, lare), expected)


def test_ecr_has_no_biases() -> None:
    names = {name for name, _ in ErrorGuidedChannelRefinement().named_parameters()}
    assert names == {"weights.0.weight", "weights.2.weight"}


def test_egre_traces_as_one_graph() -> None:
    esr = ErrorGuidedSpatialRefinement(channels=8, map_channels=2, grid=(3, 3), num_heads=2, head_dim=4).eval()
    ecr = ErrorGuidedChannelRefinement(channels=8, map_channels=2)
    inputs = torch.randn(2, 8, 3, 3), torch.rand(2, 2, 6, 6)
    for module in (esr, ecr):
        compiled = torch.compile(module, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(*inputs), module(*inputs))
