"""A whole sweep by `nnlab sweep-lr` beside the plain loop that people write, whole processes, start-up included.

MNIST-1D, MLP 40-100-100-10, batch 100, SGD, 64 rates from 1e-3 to 1, 4 seeds, 10 epochs: 256 runs. The loop trains the same runs, one
after another, and evaluates once an epoch on the whole training and validation part. The two are run in turn; ratios are of pairs.

    python benchmarks/sweep_against_loop.py [PAIRS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time

RATES, SEEDS, EPOCHS, BATCH = "1e-3:1:64", 4, 10, 100


def loop() -> None:
    """Every run in a loop of its own, as a training script would be written."""
    import torch
    from torch import nn

    from nnlab.catalog.data import load
    from nnlab.catalog.parts import divide
    from nnlab.core.spec import Spec, parse_rates

    torch.set_num_threads(1)  # for a network of this size two threads are slower than one
    dataset = load(Spec("mnist1d"))
    loss_function = nn.CrossEntropyLoss()
    for seed in range(SEEDS):
        parts = divide(dataset, seed=seed, validation=0.2, test=0.2)
        x, y = torch.tensor(parts.train.x, dtype=torch.float32), torch.tensor(parts.train.y)
        assert parts.val is not None
        x_val, y_val = torch.tensor(parts.val.x, dtype=torch.float32), torch.tensor(parts.val.y)
        for lr in parse_rates(RATES, what="rates"):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(40, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
            optimizer = torch.optim.SGD(model.parameters(), lr=lr)
            for _ in range(EPOCHS):
                for rows in torch.randperm(len(x)).split(BATCH):
                    optimizer.zero_grad()
                    loss_function(model(x[rows]), y[rows]).backward()
                    optimizer.step()
                with torch.no_grad():
                    loss_function(model(x), y).item()
                    scores = model(x_val)
                    loss_function(scores, y_val).item(), (scores.argmax(1) == y_val).float().mean().item()


def seconds(command: list[str]) -> float:
    """Wall time of a process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(num_pairs: int) -> None:
    """Run the two in turn and print the ratio of each pair."""
    ratios = []
    for pair in range(1, num_pairs + 1):
        with tempfile.TemporaryDirectory() as folder:
            options = ["--lr", RATES, "--seeds", str(SEEDS), "--epochs", str(EPOCHS), "--batch-size", str(BATCH)]
            ours = seconds([sys.executable, "-m", "nnlab", "sweep-lr", *options, "--out", f"{folder}/sweep"])
        theirs = seconds([sys.executable, __file__, "loop"])
        ratios.append(theirs / ours)
        print(f"pair {pair}: nnlab {ours:.1f} s, loop {theirs:.1f} s, ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    if sys.argv[1:] == ["loop"]:
        loop()
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
