"""How much faster a full gradient check is than torch.autograd.gradcheck in slow mode, on the same function.

    python benchmarks/gradcheck_speed.py [--rows 4] [--rounds 7]

Both check every parameter and every input of a 40-32-32-10 ReLU net with cross-entropy, in float64. They take turns, so that
whatever else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from nnlab.diagnostics.gradient_report import Method
from nnlab.diagnostics.gradients import check_subject
from nnlab.diagnostics.subjects import Subject, of_module


def subject(rows: int) -> Subject:
    """The net at a seeded point."""
    torch.manual_seed(0)
    layers = nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
    x, target = torch.randn(rows, 40, dtype=torch.float64), torch.arange(rows) % 10
    return of_module(nn.Sequential(*layers).double(), [x], loss=F.cross_entropy, target=target, name="mlp:hidden=32x32")


def theirs(checked: Subject) -> bool:
    """torch.autograd.gradcheck, slow mode, with its own defaults."""
    names = list(checked.point)
    leaves = [tensor.clone().requires_grad_() for tensor in checked.point.values()]
    return torch.autograd.gradcheck(
        lambda *tensors: checked.function({**dict(zip(names, tensors, strict=True)), **checked.constants}), leaves
    )


def seconds(work: Callable[[], bool]) -> float:
    """Wall time of one call, which must find nothing wrong."""
    start = time.perf_counter()
    assert work()
    return time.perf_counter() - start


def main() -> None:
    """Take turns and print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    checked = subject(given.rows)
    check_subject(checked, Method())  # the first call loads what torch.func needs
    pairs = []
    for _ in range(given.rounds):
        ours = seconds(lambda: check_subject(checked, Method()).ok)
        pairs.append((ours, seconds(lambda: theirs(checked))))
    entries = sum(tensor.numel() for tensor in checked.point.values())
    ours, gradcheck = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{entries} entries, {given.rows} rows, {torch.get_num_threads()} threads, median of {given.rounds} rounds")
    print(
        f"nnlab {1e3 * ours:.1f} ms   torch.autograd.gradcheck {1e3 * gradcheck:.1f} ms   ratio {gradcheck / ours:.1f}"
    )


if __name__ == "__main__":
    main()
