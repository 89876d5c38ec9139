"""A full gradient check beside torch.autograd.gradcheck in slow mode, on the same function.

Both check every parameter and every input of a 40-32-32-10 ReLU net with cross-entropy on a few rows, in float64, in turn.
"""

from __future__ import annotations

import statistics

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.contestant import spent_on
from benchmarks.tables import Table, figures
from nnlab.diagnostics.gradcheck.checking import check_subject
from nnlab.diagnostics.gradcheck.gradient_report import Method
from nnlab.diagnostics.gradcheck.subjects import Subject, module_subject

ROWS = 4


def subject() -> Subject:
    """The net at a seeded point."""
    torch.manual_seed(0)
    layers = nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
    x, target = torch.randn(ROWS, 40, dtype=torch.float64), torch.arange(ROWS) % 10
    return module_subject(
        nn.Sequential(*layers).double(), [x], loss=F.cross_entropy, target=target, name="mlp:hidden=32x32"
    )


def ours(checked: Subject) -> None:
    """nnlab's check, which must find nothing wrong."""
    assert check_subject(checked, Method()).ok


def theirs(checked: Subject) -> None:
    """torch.autograd.gradcheck with its own defaults, which must find nothing wrong."""
    names = list(checked.point)
    leaves = [tensor.clone().requires_grad_() for tensor in checked.point.values()]
    assert torch.autograd.gradcheck(
        lambda *tensors: checked.function({**dict(zip(names, tensors, strict=True)), **checked.constants}), leaves
    )


def gradcheck_table(repetitions: int) -> Table:
    """Medians of both."""
    checked = subject()
    ours(checked)  # the first call loads what torch.func needs
    pairs = [
        (spent_on(lambda: ours(checked)).wall_s, spent_on(lambda: theirs(checked)).wall_s) for _ in range(repetitions)
    ]
    our_s, their_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    entries = sum(tensor.numel() for tensor in checked.point.values())
    rows = [
        ("nnlab", figures(1e3 * our_s), ""),
        ("torch.autograd.gradcheck", figures(1e3 * their_s), f"{their_s / our_s:.2f}"),
    ]
    return Table(f"A gradient check of {entries} entries", ("", "ms", "÷"), rows)
