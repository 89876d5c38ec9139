"""The transformer's encoder as an `nn.Module`. Importing this file loads torch, so it is imported where one is built.

Shapes: B rows of a batch, T steps of a series, C channels of a step, W width, H heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nnlab.core.spec import Spec
from nnlab.networks.activation_module import ActivationModule
from nnlab.networks.row_shapes import RowShape, series_shape

_POSITIONS_STD = 0.02  # standard deviation of the learned positions at the start, as in BERT and GPT-2


class Attention(nn.Module):
    """Each step becomes a mean of all steps' values, weighted by softmax(q k / sqrt(W / H)), in each of H heads.

    Written out because PyTorch's fused kernel has no rule for vmap and draws its dropout from the global generator.

    Source: Vaswani et al. 2017, eq. 1 and section 3.2.2.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTW: Tensor) -> Tensor:
        shape = (*x_BTW.shape[:2], 3, self.heads, -1)
        query, key, value = self.query_key_value(x_BTW).reshape(shape).permute(2, 0, 3, 1, 4)
        weights = torch.softmax((query / math.sqrt(query.shape[-1])) @ key.mT, -1)
        heads: Tensor = self.dropout(weights) @ value
        mixed: Tensor = self.out(heads.transpose(1, 2).reshape(x_BTW.shape))
        return mixed


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + feedforward(norm(x)): a layer of an encoder with its norms first."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, activation: Spec) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(width), Attention(width, heads, dropout), nn.Dropout(dropout))
        self.feed = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, feedforward),
            ActivationModule(activation),
            nn.Dropout(dropout),
            nn.Linear(feedforward, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        h: Tensor = x + self.feed(x)
        return h


class Encoder(nn.Module):
    """Embeds the steps, adds learned positions, passes them through the blocks, and scores their mean."""

    def __init__(
        self,
        row: RowShape,
        outputs: int,
        activation: Spec,
        *,
        width: int,
        heads: int,
        depth: int,
        feedforward: int,
        dropout: float,
    ) -> None:
        """
        Args:
            row: (steps,) of one number, or (channels, steps).
            outputs: scores per row.
            activation: of the feedforward layers.
            width: W, numbers per step inside the encoder.
            heads: H, among which the width is divided.
            depth: blocks.
            feedforward: hidden units of a block's two layers.
            dropout: probability with which a unit is dropped in training.
        """
        super().__init__()
        self.is_plain = len(row) == 1
        channels, steps = series_shape(row, model="transformer")
        self.embed = nn.Linear(channels, width)
        self.positions = nn.Parameter(torch.randn(steps, width) * _POSITIONS_STD)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(
            *(EncoderBlock(width, heads, feedforward, dropout, activation) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x_BTC = x.unsqueeze(2) if self.is_plain else x.transpose(1, 2)
        h_BTW = self.blocks(self.dropout(self.embed(x_BTC) + self.positions))
        scores: Tensor = self.scores(self.norm(h_BTW).mean(1))
        return scores
