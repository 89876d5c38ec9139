"""What `--dtype` means to an engine: the type that numbers are kept in, and the one that a network computes in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import torch
from torch import Tensor

MIXED: Final = "mixed"


def kept_in(dtype: str) -> torch.dtype:
    """The type of weights, gradients, losses and an optimizer's state."""
    return torch.float32 if dtype == MIXED else getattr(torch, dtype)


def computing(dtype: str, device: torch.device, *, batched: bool = False) -> AbstractContextManager[object]:
    """Within, PyTorch's layers compute in the type that serves each best: mixed precision by autocast, in bfloat16.

    bfloat16 has float32's range, so no loss needs scaling as float16's would.

    Args:
        dtype: as `--dtype` says it.
        device: of the network.
        batched: vmap is called within, whose tensors end with the call: a weight is then cast at each use, not once.

    Source: Micikevicius et al. 2018 (weights kept in float32); Kalamkar et al. 2019 (bfloat16 without scaling).
    """
    if dtype != MIXED:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=not batched)


def scores_of(module: Callable[[Tensor], Tensor], x: Tensor, dtype: str) -> Tensor:
    """What a network makes of rows, computed as `--dtype` says it, in the type that losses are computed in."""
    with computing(dtype, x.device):
        return in_full(module(x), dtype)


def in_full(scores: Tensor, dtype: str) -> Tensor:
    """A network's scores in the type that losses are computed in."""
    return scores.float() if dtype == MIXED else scores
