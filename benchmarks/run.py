"""nnlab and its peers, in turn: `python -m benchmarks.run [WORKLOAD ...] [--repetitions N] [--peers a,b] [--quick] [--write]`."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.contestants import NNLAB, PEERS, Contestant
from benchmarks.gradcheck import gradcheck_table
from benchmarks.growth import growth_table, trial_table
from benchmarks.measure import Timing, fastest_way, median, timing
from benchmarks.multiplications import multiplications, sgemm_rate
from benchmarks.readme import README, section, write
from benchmarks.tables import Table, workload_table
from benchmarks.workloads import WORKLOADS, Workload, arrays_of

SLOW = ("torch_compiled", "ray_tune")  # left out where it must be quick


def measured(workload: Workload, peers: Sequence[Contestant], repetitions: int, console: Console) -> Table:
    """The table of one workload: all contestants in turn, several times."""
    contestants = [NNLAB, *(peer for peer in peers if workload.key in peer.runs)]
    timings: dict[Contestant, list[Timing]] = {contestant: [] for contestant in contestants}
    rates = []
    arrays = arrays_of(workload)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        np.savez(path, **arrays)
        ways = {contestant: fastest_way(contestant, workload, path) for contestant in contestants}
        for _ in range(repetitions):
            for contestant in contestants:
                # Before each, and the best taken: one moment in which the machine is busy would make the limit too easy.
                rates.append(sgemm_rate())
                with console.status(f"{workload.key}: {contestant.title}"):
                    timings[contestant].append(timing(contestant, workload, path, ways[contestant]))
    medians = [(contestant, median(timings[contestant])) for contestant in contestants]
    return workload_table(workload, medians, limit_s=multiplications(workload, arrays) / max(rates), arrays=arrays)


def main() -> None:
    """Measure what was asked for, show it, and keep it in README.md where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help=f"{', '.join(WORKLOADS)}, gradcheck, growth, trials; all"
    )
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--peers", help="names of modules in benchmarks/peers, comma separated; all")
    parser.add_argument("--quick", action="store_true", help="one repetition, without the slowest")
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    given = parser.parse_args()
    repetitions = 1 if given.quick else given.repetitions
    names = given.peers.split(",") if given.peers else [p.name for p in PEERS if not (given.quick and p.name in SLOW)]
    if unknown := set(names) - {peer.name for peer in PEERS}:
        parser.error(f"no such peers: {', '.join(sorted(unknown))}; there are {', '.join(peer.name for peer in PEERS)}")
    peers, console = [peer for peer in PEERS if peer.name in names], Console()
    parts: dict[str, Callable[[], Table]] = {
        key: lambda workload=workload: measured(workload, peers, repetitions, console)
        for key, workload in WORKLOADS.items()
    }
    parts["gradcheck"] = lambda: gradcheck_table(2 * repetitions + 1)
    parts |= {"growth": lambda: growth_table(repetitions, quick=given.quick), "trials": trial_table}
    if unknown := set(given.workloads) - set(parts):
        parser.error(f"no such workloads: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    for key in given.workloads or parts:
        load = os.getloadavg()[0]
        table = parts[key]()
        console.print(table.rich())
        if given.write:
            write({table.heading: section(table, load)})
            console.print(f"{README}: {table.heading}")


if __name__ == "__main__":
    main()
