"""Runs in batches for the contestants that train many at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from benchmarks.workloads import BenchRun

# Runs trained at once by a peer: the sizes that it tries, of which it takes the fastest.
SIZES: Mapping[str, tuple[int, ...]] = {
    "A": (8, 16, 64),
    "B": (64, 256),
    "C": (4, 16, 32),
    "D": (4, 8),
    "E": (2, 10),
    "F": (16,),
}
# Where each size is compiled anew for half a minute, the one that is fastest uncompiled.
COMPILED_SIZES: Mapping[str, tuple[int, ...]] = {"A": (16,), "B": (256,), "C": (16,), "F": (16,)}


def chunks(runs: Iterable[BenchRun], size: int) -> list[Sequence[BenchRun]]:
    """Runs of one model and one seed, at most `size` together: they share their batches."""
    found: list[Sequence[BenchRun]] = []
    for _, group in groupby(runs, key=lambda run: (run.model, run.seed)):
        together = list(group)
        found += [together[i : i + size] for i in range(0, len(together), size)]
    return found


def one_of_each_shape(together: Iterable[Sequence[BenchRun]]) -> list[Sequence[BenchRun]]:
    """A chunk for each program that is to be compiled."""
    return list({(runs[0].model, len(runs)): runs for runs in together}.values())
