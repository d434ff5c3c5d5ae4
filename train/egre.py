"""Error-guided feature refinement (EGRE), after LaRE² (arXiv 2403.17465): LaRE says which places and channels matter.

Both modules take the backbone's feature map and the raw LaRE map, and bring the map to the size they need themselves.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ErrorGuidedSpatialRefinement(nn.Module):
    """Attention pooling of a feature map, its logits shifted by the LaRE map: softmax(Q Kᵀ / sqrt(d) + E W_E) V.

    The only query is the mean feature. It is a token of its own as well, whose error is the mean error. The bias of
    `error_bias` moves all logits of a head alike, so it never learns anything; the authors' weights have it, and so
    do these.
    """

    def __init__(
        self,
        channels: int = 1024,
        map_channels: int = 4,
        grid: tuple[int, int] = (14, 14),
        num_heads: int = 8,
        head_dim: int = 64,
        dropout: float = 0.1,
    ) -> None:
        """Build with random weights.

        Args:
            channels: Channels of the feature map and of the output.
            map_channels: Channels of the LaRE map.
            grid: Height and width of the feature map, in cells.
            num_heads: Attention heads; each has its own reading of the error.
            head_dim: Width of a head's queries, keys and values.
            dropout: Share of attention weights, and of output values, dropped while training.
        """
        super().__init__()
        self.grid = grid[0], grid[1]  # a YAML list is welcome
        self.num_heads = num_heads
        self.error_bias = nn.Conv2d(map_channels, num_heads, kernel_size=1)
        self.position = nn.Parameter(torch.randn(1 + grid[0] * grid[1], channels) / channels**0.5)
        self.query = nn.Linear(channels, num_heads * head_dim)
        self.key = nn.Linear(channels, num_heads * head_dim)
        self.value = nn.Linear(channels, num_heads * head_dim)
        self.output = nn.Linear(num_heads * head_dim, channels)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(channels)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, feature_map: Tensor, lare: Tensor) -> Tensor:
        """Refine the feature map to one vector an image.

        Args:
            feature_map: (batch, channels, *grid), float.
            lare: LaRE maps, (batch, map_channels, any height, any width), float.

        Returns:
            x_s, (batch, channels).

        Raises:
            ValueError: If the feature map is not on the grid that the positions were built for.
        """
        query, key, tokens, bias = self._attend_to(feature_map, lare)
        attended = F.scaled_dot_product_attention(
            query,
            key,
            self._split_heads(self.value(tokens)),
            attn_mask=bias,
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        refined = self.output(attended.transpose(1, 2).flatten(2))
        result: Tensor = self.norm(tokens[:, :1] + self.dropout(refined)).squeeze(1)
        return result

    def attention_weights(self, feature_map: Tensor, lare: Tensor) -> Tensor:
        """The attention of `forward`, without dropout.

        Args:
            feature_map: As of `forward`.
            lare: As of `forward`.

        Returns:
            (batch, head, 1 + cells), each head's weights sum to 1; the mean token first, then the grid row by row.
        """
        query, key, _, bias = self._attend_to(feature_map, lare)
        logits = query @ key.transpose(2, 3) / key.shape[3] ** 0.5 + bias
        return torch.softmax(logits, dim=3).squeeze(2)

    def _attend_to(self, feature_map: Tensor, lare: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries and keys (batch, head, token, dim), tokens (batch, token, channel), bias of the logits."""
        if tuple(feature_map.shape[2:]) != self.grid:
            raise ValueError(
                f"feature map is {tuple(feature_map.shape[2:])} cells, positions were built for {self.grid}"
            )
        tokens = _with_mean_token(feature_map) + self.position
        bias = _with_mean_token(self.error_bias(F.adaptive_avg_pool2d(lare, self.grid)))
        query = self._split_heads(self.query(tokens[:, :1]))
        # (batch, head, 1 query, token), added to the logits
        return query, self._split_heads(self.key(tokens)), tokens, bias.transpose(1, 2).unsqueeze(2)

    def _split_heads(self, tokens: Tensor) -> Tensor:
        """(batch, token, head · dim) as (batch, head, token, dim)."""
        return tokens.view(*tokens.shape[:2], self.num_heads, -1).transpose(1, 2)


class ErrorGuidedChannelRefinement(nn.Module):
    """The mean feature, each channel weighted by what the mean error says: x_c = sigmoid(W₂ relu(W₁ ē)) ⊙ x̄."""

    def __init__(self, channels: int = 1024, map_channels: int = 4, hidden: int = 128) -> None:
        """Build with random weights.

        Args:
            channels: Channels of the feature map and of the output.
            map_channels: Channels of the LaRE map.
            hidden: Width between the two layers.
        """
        super().__init__()
        self.weights = nn.Sequential(
            nn.Linear(map_channels, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, feature_map: Tensor, lare: Tensor) -> Tensor:
        """Refine the feature map to one vector an image.

        Args:
            feature_map: (batch, channels, any height, any width), float.
            lare: LaRE maps, (batch, map_channels, any height, any width), float.

        Returns:
            x_c, (batch, channels).
        """
        weights: Tensor = self.weights(lare.mean(dim=(2, 3)))
        return weights * feature_map.mean(dim=(2, 3))


def _with_mean_token(grid: Tensor) -> Tensor:
    """(batch, channel, h, w) as tokens (batch, 1 + h · w, channel), the mean of all cells first."""
    tokens = grid.flatten(2).transpose(1, 2)
    return torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
