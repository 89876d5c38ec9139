"""Tables of what was measured: in a terminal, and in README.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table as RichTable

from benchmarks.contestants import NNLAB, Contestant
from benchmarks.measure import Timing, difference
from benchmarks.workloads import Arrays, Workload

MOST_APART = 0.05  # of final losses, at the median over the runs
MISSED = "**missed**"


@dataclass(frozen=True)
class Table:
    """A heading, columns (the first and those of words to the left), and rows of cells."""

    heading: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def rich(self) -> RichTable:
        """For a terminal."""
        table = RichTable(title=self.heading)
        for column in self.columns:
            table.add_column(column, justify=_side(self.columns, column))
        for row in self.rows:
            table.add_row(*(cell.replace("**", "") for cell in row), style="red" if MISSED in " ".join(row) else None)
        return table

    def markdown(self) -> str:
        """For README.md."""
        rules = ["---" if _side(self.columns, column) == "left" else "---:" for column in self.columns]
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.columns, rules, *self.rows))


def _side(columns: Sequence[str], column: str) -> str:
    return "left" if column in (columns[0], "target", "how") else "right"


def workload_table(
    workload: Workload, timings: Sequence[tuple[Contestant, Timing]], *, limit_s: float, arrays: Arrays
) -> Table:
    """nnlab's row, the peers', and the sgemm limit's; ratios are of a peer's time to nnlab's."""
    ours = dict(timings)[NNLAB]
    steps = -(-arrays["x_train"].shape[1] // workload.batch_size) * workload.epochs * len(workload.runs)
    rows = [_row(workload, contestant, ours, timing, steps) for contestant, timing in timings]
    columns = ("", "training s", "CPU s", "whole s", "µs a run and step", "training ÷", "whole ÷", "target", "how")
    heading = f"{workload.key}: {workload.title}, {len(workload.runs)} runs x {workload.epochs} epochs"
    return Table(heading, columns, [*rows, _limit_row(workload, ours, limit_s, steps)])


def _row(workload: Workload, contestant: Contestant, ours: Timing, theirs: Timing, steps: int) -> tuple[str, ...]:
    if math.isnan(theirs.train_s):
        return (contestant.title, *[""] * 7, theirs.note)
    ratios = theirs.train_s / ours.train_s, theirs.whole_s / ours.whole_s
    wanted = workload.targets.get(contestant.name), workload.whole_targets.get(contestant.name)
    words = ("training", "whole process")
    verdicts = [
        f"{word} {target:g} x: {'met' if ratio >= target else MISSED}"
        for word, ratio, target in zip(words, ratios, wanted, strict=True)
        if target is not None
    ]
    times = (figures(theirs.train_s), figures(theirs.cpu_s), figures(theirs.whole_s))
    shown = ("", "") if contestant is NNLAB else (f"{ratios[0]:.2f}", f"{ratios[1]:.2f}")
    how = "; ".join(_said(workload, contestant, ours, theirs))
    return (contestant.title, *times, figures(1e6 * theirs.train_s / steps), *shown, "; ".join(verdicts), how)


def _limit_row(workload: Workload, ours: Timing, limit_s: float, steps: int) -> tuple[str, ...]:
    reached, target = limit_s / ours.train_s, workload.targets.get("limit")
    verdict = "" if target is None else f"{target:.0%} of it: {'met' if reached >= target else MISSED}"
    each = figures(1e6 * limit_s / steps)
    return ("sgemm limit", figures(limit_s), "", "", each, "", "", verdict, f"nnlab reaches {reached:.0%} of it")


def _said(workload: Workload, contestant: Contestant, ours: Timing, theirs: Timing) -> list[str]:
    """A note: the way it was done, the share of the runs, and the agreement of the final losses."""
    said = [theirs.note]
    if theirs.share < 1:
        said.append(f"{round(theirs.share * len(workload.runs))} of the runs, scaled")
    if contestant is NNLAB:
        return said
    if theirs.prepare_s >= 0.5:
        said.append(f"compiling and warming up {figures(theirs.prepare_s)} s more")
    if workload.key in contestant.unlike:
        return [*said, contestant.unlike[workload.key]]
    apart = difference(ours.losses, theirs.losses)
    return [
        *said,
        f"final losses {apart:+.1%}" if abs(apart) <= MOST_APART else f"**final losses differ: {apart:+.1%}**",
    ]


def figures(value: float) -> str:
    """Three of them; nothing where there is no number."""
    if math.isnan(value):
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
