"""The workloads as data: what is trained, and what every contestant is given of it.

A contestant trains the runs of a workload: each model at each rate (or init), over the seeds. A run starts from weights drawn by its
init's law under its seed, sees its seed's training part in a new order every epoch, and is evaluated before the first step and after
every epoch: mean loss of the training part; mean loss and accuracy of the validation part; at the end, of the test part too.

Shapes: S seeds, N rows, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from nnlab.core.spec import parse_rates, parse_spec

PARTS = ("train", "val", "test")
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class BenchRun:
    """One training."""

    model: str
    init: str
    lr: float
    seed: int

    @property
    def arm(self) -> str:
        """The settings that tell it from the runs of other arms; seeds are repetitions of an arm."""
        return f"{self.model} {self.init} {self.lr!r}"


@dataclass(frozen=True)
class Workload:
    """A grid of runs, and what its row of the table must reach.

    Attributes:
        key: its letter.
        title: in a few words.
        command: the nnlab command that trains it.
        options: of that command, as on the command line, besides those that the other fields say.
        models: nnlab's spelling; one arm each.
        targets: times faster than a peer that training must be, by the peer's name; `limit` is a fraction of the sgemm limit.
        whole_targets: the same of whole processes.
    """

    key: str
    title: str
    command: str
    data: str
    models: tuple[str, ...]
    rates: str
    num_seeds: int
    epochs: int
    batch_size: int = 100
    optimizer: str = "sgd"
    schedule: str = "none"
    inits: tuple[str, ...] = ("torch_default",)
    options: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)
    whole_targets: Mapping[str, float] = field(default_factory=dict)

    @property
    def learning_rates(self) -> tuple[float, ...]:
        return parse_rates(self.rates, what="rates")

    @property
    def seeds(self) -> range:
        return range(self.num_seeds)

    @property
    def runs(self) -> list[BenchRun]:
        """All runs, those of one seed and one model next to each other."""
        return [
            BenchRun(model, init, lr, seed)
            for seed in self.seeds
            for model in self.models
            for init in self.inits
            for lr in self.learning_rates
        ]

    def some_runs(self, number: int) -> list[BenchRun]:
        """As many runs of the first seeds, evenly taken from the arms: what a contestant trains that is too slow for all."""
        runs = self.runs
        num_arms = len(runs) // self.num_seeds
        if number < num_arms:
            return [runs[i * num_arms // number] for i in range(number)]
        return runs[:number]

    @property
    def words(self) -> dict[str, str | list[str]]:
        """The options of the nnlab command, as a person would write them."""
        rates = ",".join(map(repr, self.learning_rates))
        arms: dict[str, str | list[str]]
        match self.command:
            case "sweep-lr":
                arms = {"lr": self.rates, "model": self.models[0], "init": self.inits[0]}
            case "compare-init":
                arms = {"lr": self.rates, "model": self.models[0], "inits": ",".join(self.inits)}
            case _:
                arms = {"vary": [f"model={','.join(self.models)}", f"lr={rates}"]}
        shared = {
            "data": self.data,
            "seeds": str(self.num_seeds),
            "epochs": str(self.epochs),
            "batch_size": str(self.batch_size),
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }
        return {**arms, **shared, **self.options}

    @property
    def command_line(self) -> list[str]:
        """The words after `nnlab`."""
        given = [
            (name, value) for name, text in self.words.items() for value in (text if isinstance(text, list) else [text])
        ]
        return [self.command, *(word for name, value in given for word in (f"--{name.replace('_', '-')}", value))]


THIRTY_LAYERS = "mlp:width=100:depth=30"
INITS = (
    "zeros",
    "normal:std=0.01",
    "normal:std=0.5",
    "normal:std=1.5",
    "xavier_uniform",
    "xavier_normal",
    "kaiming_uniform",
    "kaiming_normal",
    "orthogonal",
    "torch_default",
)

WORKLOADS: Mapping[str, Workload] = {
    workload.key: workload
    for workload in (
        Workload(
            "A",
            "MNIST-1D, MLP 40-100-100-10, batch 100, SGD",
            "sweep-lr",
            "mnist1d",
            ("mlp:hidden=100x100",),
            "1e-3:1:64",
            num_seeds=4,
            epochs=10,
            targets={"torch_loop": 6, "jax_scan": 1.6, "limit": 0.55},
            whole_targets={"torch_loop": 4.5, "jax_scan": 1.4},
        ),
        Workload(
            "B",
            "moons, MLP 2-16-16-2, batch 50, SGD",
            "sweep-lr",
            "moons",
            ("mlp:hidden=16x16",),
            "1e-3:1:256",
            num_seeds=4,
            epochs=50,
            batch_size=50,
            options={"loss": "cross_entropy"},
            targets={"torch_loop": 60, "jax_scan": 2},
        ),
        Workload(
            "C",
            "MNIST-1D's CNN, batch 100, SGD",
            "sweep-lr",
            "mnist1d",
            ("cnn_mnist1d",),
            "1e-3:1:32",
            num_seeds=2,
            epochs=5,
            targets={"torch_loop": 2, "jax_scan": 4},
        ),
        Workload(
            "D",
            "bidirectional GRU of 40 time steps, batch 100, Adam",
            "sweep-lr",
            "mnist1d",
            ("gru:hidden=6:bidirectional=true",),
            "1e-3:1e-1:8",
            num_seeds=2,
            epochs=2,
            optimizer="adam",
            targets={"torch_loop": 4, "jax_scan": 1},
        ),
        Workload(
            "E",
            "compare-init with probes, 30 layers of width 100, Adam",
            "compare-init",
            "mnist1d",
            (THIRTY_LAYERS,),
            "1e-3",
            num_seeds=4,
            epochs=5,
            optimizer="adam",
            inits=INITS,
            targets={"torch_loop": 3.5},
        ),
        Workload(
            "F",
            "digits, linear and MLP 64-32-10, batch 100, AdamW, one-cycle",
            "compare",
            "digits",
            ("linear", "mlp:hidden=32"),
            "1e-3:1:16",
            num_seeds=8,
            epochs=10,
            optimizer="adamw",
            schedule="one_cycle",
            targets={"torch_loop": 20, "jax_scan": 2},
        ),
    )
}


def _more_of(workload: Workload, num_rates: int, num_seeds: int, epochs: int) -> Workload:
    key = f"{workload.key}{num_rates * num_seeds}x{epochs}"
    return replace(workload, key=key, rates=f"1e-3:1:{num_rates}", num_seeds=num_seeds, epochs=epochs)


# B with fewer and more runs, for what a run costs when there are many: ten epochs, and at last all of its own.
GROWING: tuple[Workload, ...] = tuple(
    _more_of(WORKLOADS["B"], *size) for size in ((16, 4, 10), (64, 4, 10), (256, 4, 10), (256, 16, 10), (256, 64, 10))
)
LARGEST: Workload = _more_of(WORKLOADS["B"], 256, 64, 50)


def arrays_of(workload: Workload) -> dict[str, np.ndarray]:
    """x_train [S, N, D] float32, y_train [S, N] int64, and the same of `val` and `test`: nnlab's own division, by seed."""
    from nnlab.data.loading import load
    from nnlab.data.parts import divide

    dataset = load(parse_spec(workload.data, what="--data"))
    each = [divide(dataset, seed=seed, validation=0.2, test=0.2) for seed in workload.seeds]
    arrays = {}
    for name in PARTS:
        arrays[f"x_{name}"] = np.stack([getattr(parts, name).x for parts in each]).astype(np.float32)
        arrays[f"y_{name}"] = np.stack([getattr(parts, name).y for parts in each]).astype(np.int64)
    return arrays
