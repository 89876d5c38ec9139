"""The contestants, and the number of a workload's runs that each trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.workloads import Workload

ALL: Final = None


@dataclass(frozen=True, eq=False)
class Contestant:
    """One way to train the runs of a workload.

    Attributes:
        name: of its module in `benchmarks.peers`.
        title: in the table.
        runs: how many it trains of each workload that it can do, its time being scaled up to all of them; None for all.
        unlike: by workload, how its work differs from what `workloads` says; its losses are then not compared.
        has_ways: whether threads and runs at once are tried first, and the fastest taken.
    """

    name: str
    title: str
    runs: Mapping[str, int | None]
    unlike: Mapping[str, str]
    has_ways: bool

    def num_runs(self, workload: Workload) -> int:
        """The number of runs that it trains."""
        return self.runs.get(workload.key) or len(workload.runs)


def _contestant(
    name: str, title: str, unlike: Mapping[str, str] | None = None, *, has_ways: bool = False, **runs: int | None
) -> Contestant:
    return Contestant(name, title, runs, unlike or {}, has_ways)


NNLAB: Final = _contestant("nnlab_engine", "nnlab", A=ALL, B=ALL, C=ALL, D=ALL, E=ALL, F=ALL)

_GLOROT = "starts from Glorot's weights, is evaluated at the end alone"

PEERS: Final = (
    _contestant("torch_loop", "PyTorch loop", A=32, B=16, C=16, D=4, E=10, F=64),
    _contestant("torch_processes", "PyTorch loop, two processes", A=64, B=32, C=16, D=4, E=10, F=64),
    _contestant("torch_vmap", "torch.func vmap", {"E": "no probes"}, has_ways=True, A=32, B=256, C=16, D=8, E=10, F=32),
    _contestant("torch_compiled", "torch.compile of it", has_ways=True, A=32, B=256, C=16, F=32),
    _contestant(
        "jax_scan", "JAX jit(scan(vmap))", {"E": "no probes"}, has_ways=True, A=ALL, B=ALL, C=32, D=ALL, E=10, F=ALL
    ),
    _contestant(
        "sklearn_search",
        "scikit-learn GridSearchCV",
        {"A": _GLOROT, "F": f"{_GLOROT}, Adam at a constant rate"},
        A=32,
        F=64,
    ),
    _contestant("optuna_search", "Optuna over the loop", A=32),
    _contestant("ray_tune", "Ray Tune over the loop", A=32),
    _contestant("nnlab_unprobed", "nnlab without probes", E=ALL),
)
