"""The cost of a run beside its training, and its growth with the number of runs: B from 64 to 16,384 runs; a trial of each tuner."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.contestants import NNLAB
from benchmarks.measure import command, median, process, timing
from benchmarks.tables import MISSED, Table, figures
from benchmarks.workloads import GROWING, LARGEST

STEPS_PER_EPOCH = 12  # of B: 600 training rows in batches of 50
MOST_UNEVEN, MOST_MIB, MOST_MS = 1.10, 1536, 1.0
TRIALS = {"optuna": 200, "keras_tuner": 50, "sklearn": 200, "ray_tune": 20}


def growth_table(repetitions: int, *, quick: bool) -> Table:
    """A row for each number of runs: of ten epochs, and the last of fifty, whose memory counts."""
    rows, costs, start_up, a_run = [], [], 0.0, 0.0
    for workload in GROWING[:3] if quick else GROWING:
        timings = median([timing(NNLAB, workload, Path("-")) for _ in range(repetitions)])
        num_runs = len(workload.runs)
        beside = timings.whole_s - timings.train_s
        start_up = start_up or beside
        a_run = 1e3 * (beside - start_up) / num_runs
        costs.append(1e6 * timings.train_s / (num_runs * workload.epochs * STEPS_PER_EPOCH))
        cells = (
            f"{num_runs} x {workload.epochs}",
            figures(timings.train_s),
            figures(costs[-1]),
            figures(timings.whole_s),
        )
        rows.append((*cells, figures(a_run) if len(rows) else "", f"{command(workload, weigh=True).peak_mib:.0f}", ""))
    flat, cheap = max(costs) / min(costs), a_run <= MOST_MS
    rows.append(("most ÷ least", "", f"{flat:.2f}", "", "", "", f"1.10: {_met(flat <= MOST_UNEVEN)}"))
    rows.append(("the last", "", "", "", figures(a_run), "", f"1 ms: {_met(cheap)}"))
    if not quick:
        wall_s, peak_mib = command(LARGEST).wall_s, command(LARGEST, weigh=True).peak_mib
        within = f"1536 MiB: {_met(peak_mib <= MOST_MIB)}"
        cells = f"{len(LARGEST.runs)} x {LARGEST.epochs}", "", "", figures(wall_s), "", f"{peak_mib:.0f}"
        rows.append((*cells, within))
    columns = (
        "runs x epochs",
        "training s",
        "µs a run and step",
        "whole s",
        "beside training, ms a run",
        "peak MiB",
        "target",
    )
    return Table("Many runs: B with its curves", columns, rows)


def trial_table() -> Table:
    """The time that each tuner needs for a trial without training."""
    rows = []
    for tuner, num_trials in TRIALS.items():
        done = process(["-m", "benchmarks.peers.empty_trials", tuner, str(num_trials)])
        ms = f"n/a: {done.complaint}" if done.complaint else figures(json.loads(done.printed.splitlines()[-1])["ms"])
        rows.append((tuner, str(num_trials), ms))
    return Table("A trial of nothing", ("tuner", "trials", "ms a trial"), rows)


def _met(met: bool) -> str:
    return "met" if met else MISSED
