"""Random streams: one CPU generator for each seed and purpose.

A run's numbers depend on its seed alone, never on which runs it is batched with: every purpose draws from its own
stream, in an order that the run itself fixes. Draws are made on the CPU in float64 and then moved and rounded.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

Purpose = Literal["split", "init", "order", "dropout", "noise", "forward"]


def stream_seed(seed: int, purpose: Purpose) -> int:
    """A 63-bit seed for (seed, purpose); a hash, so that neighbouring seeds give unrelated streams."""
    digest = hashlib.blake2b(f"nnlab/{purpose}/{seed}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def stream(seed: int, purpose: Purpose) -> torch.Generator:
    """A fresh CPU generator for (seed, purpose)."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose))
