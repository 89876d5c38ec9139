"""The meaning of `--dtype` to an engine: the type that numbers are stored in, and the type that a network computes in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import torch
from torch import Tensor

MIXED: Final = "mixed"


def storage_dtype(dtype: str) -> torch.dtype:
    """The type of weights, gradients, losses and the optimizer's state."""
    return torch.float32 if dtype == MIXED else getattr(torch, dtype)


def autocast(dtype: str, device: torch.device, *, batched: bool = False) -> AbstractContextManager[object]:
    """Context manager: under `mixed`, PyTorch's layers compute each in the type that serves it best, bfloat16 or float32.

    bfloat16 has float32's range, so the loss needs no scaling, as it would with float16.

    Args:
        dtype: as `--dtype` has it.
        device: of the network.
        batched: vmap is called inside. Its tensors end with the call, so a weight is cast at each use and not cached.

    Source: Micikevicius et al. 2018 (weights stored in float32); Kalamkar et al. 2019 (bfloat16 without scaling).
    """
    if dtype != MIXED:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=not batched)


def scores_of(module: Callable[[Tensor], Tensor], x: Tensor, dtype: str) -> Tensor:
    """The network's scores for rows, computed as `--dtype` says, in the type that losses are computed in."""
    with autocast(dtype, x.device):
        return in_loss_dtype(module(x), dtype)


def in_loss_dtype(scores: Tensor, dtype: str) -> Tensor:
    """The scores in the type that losses are computed in."""
    return scores.float() if dtype == MIXED else scores
