"""The columns of nnlab's layers.csv by forward hooks and autograd: what compare-init looks at, for the loop."""

from __future__ import annotations

import torch
from torch import nn

PROBE_ROWS = 512


def probe(model: nn.Module, x: torch.Tensor, y: torch.Tensor, *, lr: float) -> list[list[float]]:
    """A row for each linear layer at the model's weights, in float64, on the first rows."""
    model.double()
    seen: list[tuple[nn.Linear, torch.Tensor, torch.Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda module, given, z: seen.append((module, given[0], z)))
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
    ]
    loss = nn.functional.cross_entropy(model(x[:PROBE_ROWS].double()), y[:PROBE_ROWS])
    deltas = torch.autograd.grad(loss, [z for *_, z in seen])
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        rows = [layer_row(*each, delta, lr) for each, delta in zip(seen, deltas, strict=True)]
    model.float()
    return rows


def layer_row(layer: nn.Linear, given: torch.Tensor, z: torch.Tensor, delta: torch.Tensor, lr: float) -> list[float]:
    """The columns of layers.csv for a layer: its inputs `given`, its sums `z`, the loss's gradient by them `delta`."""
    units = torch.cat([layer.weight, layer.bias[:, None]], 1)
    lengths = units.norm(dim=1)
    copies = torch.cdist(units, units) <= 1e-4 * lengths[:, None].maximum(lengths)
    h, gradient = z.relu(), (delta.T @ given).norm()
    return [
        z.square().mean().item(),
        z.var(0, correction=0).mean().sqrt().item(),
        h.mean().item(),
        (h == 0).all(0).double().mean().item(),
        delta.square().mean().sqrt().item(),
        gradient.item(),
        (lr * gradient / layer.weight.norm()).item(),
        (~copies.tril(-1).any(1)).sum().item(),
    ]
