"""`nnlab compare-init`, its ten default inits x 10 seeds x 10 epochs on MNIST-1D, beside the plain loop with the same probes.

nnlab is timed as a whole process, start-up, statistics and files included. The loop trains one run after another: an nn.Module,
torch.optim, an evaluation on training and validation part at every epoch's end, the layers looked at before the first step (float64,
512 rows, forward hooks and autograd), and it leaves a run whose loss is no longer finite. Its runs are alike from seed to seed, so of
its 10 seeds SHARE are trained and the time after start-up is multiplied by 10 / SHARE. The two are run in turn; ratios are of pairs.

    python benchmarks/compare_init_against_loop.py [PAIRS]
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from nnlab.catalog.data import load
from nnlab.catalog.parts import Parts, divide
from nnlab.core.settings import CompareInitSettings
from nnlab.core.spec import Spec

WIDTH, DEPTH, SEEDS, EPOCHS, BATCH, LR = 100, 6, 10, 10, 100, 0.1
SHARE = 2  # seeds that the loop trains
PROBE_ROWS = 512
INITS = [str(init) for init in CompareInitSettings().inits]


def initialised(init: str) -> nn.Sequential:
    """The network, its weights drawn by PyTorch's own function, its biases zero; PyTorch's default as it is."""
    fills: dict[str, Callable[[torch.Tensor], object]] = {
        "zeros": nn.init.zeros_,
        "normal:std=0.01": lambda w: nn.init.normal_(w, std=0.01),
        "normal:std=0.5": lambda w: nn.init.normal_(w, std=0.5),
        "normal:std=1.5": lambda w: nn.init.normal_(w, std=1.5),
        "xavier_uniform": nn.init.xavier_uniform_,
        "xavier_normal": nn.init.xavier_normal_,
        "kaiming_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
        "kaiming_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
        "orthogonal": nn.init.orthogonal_,
    }
    blocks = [m for a, b in pairwise([40, *[WIDTH] * DEPTH]) for m in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*blocks, nn.Linear(WIDTH, 10))
    for layer in model:
        if init in fills and isinstance(layer, nn.Linear):
            fills[init](layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def probe(model: nn.Sequential, x: torch.Tensor, y: torch.Tensor) -> list[list[float]]:
    """The columns of layers.csv, by forward hooks and autograd, in float64."""
    model.double()
    seen: list[tuple[nn.Module, torch.Tensor, torch.Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda module, given, z: seen.append((module, given[0], z)))
        for layer in model
        if isinstance(layer, nn.Linear)
    ]
    loss = nn.functional.cross_entropy(model(x.double()), y)
    deltas = torch.autograd.grad(loss, [z for *_, z in seen])
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        rows = [layer_row(*each, delta) for each, delta in zip(seen, deltas, strict=True)]
    model.float()
    return rows


def layer_row(layer: nn.Module, given: torch.Tensor, z: torch.Tensor, delta: torch.Tensor) -> list[float]:
    """A row of layers.csv."""
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
        (LR * gradient / layer.weight.norm()).item(),
        (~copies.tril(-1).any(1)).sum().item(),
    ]


def train(model: nn.Sequential, parts: Parts) -> None:
    """The run, as a training script would have it."""
    x, y = torch.tensor(parts.train.x, dtype=torch.float32), torch.tensor(parts.train.y)
    assert parts.val is not None
    x_val, y_val = torch.tensor(parts.val.x, dtype=torch.float32), torch.tensor(parts.val.y)
    probe(model, x[:PROBE_ROWS], y[:PROBE_ROWS])
    loss_function, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=LR)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss_function(model(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = loss_function(model(x), y).item()
            scores = model(x_val)
            loss_function(scores, y_val).item(), (scores.argmax(1) == y_val).float().mean().item()
        if not math.isfinite(loss):
            return


def loop() -> None:
    """Every arm over SHARE seeds; prints the seconds after start-up."""
    torch.set_num_threads(1)  # for a network of this size two threads are slower than one
    dataset = load(Spec("mnist1d"))
    start = time.perf_counter()
    for seed in range(SHARE):
        parts = divide(dataset, seed=seed, validation=0.2, test=0.2)
        for init in INITS:
            torch.manual_seed(seed)
            train(initialised(init), parts)
    print(time.perf_counter() - start)


def seconds(command: list[str]) -> tuple[float, str]:
    """Wall time of a process, and what it printed."""
    start = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return time.perf_counter() - start, done.stdout


def main(num_pairs: int) -> None:
    """Run the two in turn and print the ratio of each pair."""
    ratios = []
    for pair in range(1, num_pairs + 1):
        with tempfile.TemporaryDirectory() as folder:
            words = [
                "compare-init",
                "--seeds",
                str(SEEDS),
                "--epochs",
                str(EPOCHS),
                "--lr",
                str(LR),
                "--out",
                f"{folder}/out",
            ]
            ours, _ = seconds([sys.executable, "-m", "nnlab", *words])
        whole, printed = seconds([sys.executable, __file__, "loop"])
        trained = float(printed)
        theirs = (whole - trained) + trained * SEEDS / SHARE
        ratios.append(ours / theirs)
        print(f"pair {pair}: nnlab {ours:.1f} s, loop {theirs:.1f} s ({trained:.1f} s for {SHARE} seeds), ", end="")
        print(f"ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f}); target 0.33")


if __name__ == "__main__":
    if sys.argv[1:] == ["loop"]:
        loop()
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
