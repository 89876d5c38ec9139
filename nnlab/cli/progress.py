"""Progress on stderr: a bar for a person, a line now and then for a log.

Work is counted in run-epochs, which the engine reports from any thread as it goes.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final, Self

from rich import progress as rich_progress
from rich.console import Console

from nnlab.analysis.scores import higher_is_better
from nnlab.cli.streams import readers_may_leave
from nnlab.report.cells import number
from nnlab.report.text import plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from nnlab.settings.run_records import RunRecord

_NOTHING: Final[Mapping[str, Sequence[float]]] = {}
_REDRAWN_EVERY_S: Final = 0.1
_LINE_EVERY_S: Final = 10.0


class ProgressBar:
    """Context manager: shows runs done, runs diverged, the best arm so far and the time left.

    `advance` and `finished` may be called from any thread; `advance` draws at most ten times a second, so that a call
    costs about as much as its lock.
    """

    def __init__(
        self,
        num_runs: int,
        epochs: int,
        *,
        metric: str,
        factor: str = "",
        quiet: bool = False,
        no_color: bool = False,
        earlier: Mapping[str, Sequence[float]] = _NOTHING,
    ) -> None:
        """
        Args:
            num_runs: runs to be trained now.
            epochs: epochs of one run.
            metric: the score that arms are judged by.
            factor: the varied factor, named before the best arm; without one no arm is named.
            quiet: show nothing.
            no_color: no colours.
            earlier: by arm, scores of runs that finished before: the best so far may be one of these arms.
        """
        self._epochs = max(epochs, 1)
        self._num_runs, self._num_done, self._num_diverged, self._num_failed = num_runs, 0, 0, 0
        self._work_done = 0
        self._metric, self._factor = metric, plain_text(factor)
        self._scores: dict[str, list[float]] = {arm: list(scores) for arm, scores in earlier.items()}
        self._lock = threading.Lock()
        self._quiet = quiet
        self._started = self._told = time.monotonic()
        self._bar = None if quiet or not sys.stderr.isatty() else _bar(no_color=no_color)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._task = self._bar.add_task("", total=self._num_runs * self._epochs, words=self._words())
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if not self._quiet and kind is None and self._num_done:
            self._say(f"{self._words()}, in {_duration(time.monotonic() - self._started)}")

    def advance(self, run_epochs: int) -> None:
        """Count one more epoch for this many runs."""
        with self._lock:
            self._work_done += run_epochs
            self._tell(every_s=_REDRAWN_EVERY_S)

    def count_finished(self, records: Sequence[RunRecord]) -> None:
        """Count these runs as finished, with the epochs that they did not need."""
        with self._lock:
            for record in records:
                self._num_done += 1
                self._num_diverged += record.status == "diverged"
                self._num_failed += record.status == "failed"
                self._work_done += self._epochs - record.epochs
                score = record.scores.get(self._metric) if record.status == "done" else None
                self._scores.setdefault(record.run.arm, []).append(float("nan") if score is None else score)
            self._tell(every_s=0.0)

    def _tell(self, *, every_s: float) -> None:
        """Redraw the bar, at most ten times a second; without a bar, write a line now and then."""
        now = time.monotonic()
        if self._quiet or now - self._told < (_LINE_EVERY_S if self._bar is None else every_s):
            return
        self._told = now
        if self._bar is not None:
            self._bar.update(self._task, completed=self._work_done, words=self._words())
        else:
            self._say(f"{self._words()}, about {_duration(self._seconds_left(now))} left")

    def _seconds_left(self, now: float) -> float:
        left = self._num_runs * self._epochs - self._work_done
        return (now - self._started) * left / self._work_done if self._work_done else float("nan")

    def _words(self) -> str:
        words = [f"{self._num_done} of {self._num_runs} run{'s' * (self._num_runs > 1)} done"]
        words += [f"{self._num_diverged} diverged"] * (self._num_diverged > 0)
        words += [f"{self._num_failed} failed"] * (self._num_failed > 0)
        return ", ".join([*words, *self._best()])

    def _best(self) -> list[str]:
        """The arm with the best mean so far, among arms without a lost run; empty if there is none."""
        means = {arm: sum(scores) / len(scores) for arm, scores in self._scores.items()}
        finite = {arm: mean for arm, mean in means.items() if mean - mean == 0}
        if not finite or not self._factor:
            return []
        best = (max if higher_is_better(self._metric) else min)(finite, key=lambda arm: finite[arm])
        return [f"best so far {self._factor} {_arm(best)} ({self._metric} {number(finite[best], 3)})"]

    def _say(self, line: str) -> None:
        with readers_may_leave(sys.stderr):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _arm(arm: str) -> str:
    """An arm in short: a rate to three digits, any other name as it is."""
    try:
        return number(float(arm), 3)
    except ValueError:
        return plain_text(arm)


def _bar(*, no_color: bool) -> rich_progress.Progress:
    console = Console(stderr=True, no_color=no_color or None, highlight=False)
    return rich_progress.Progress(
        rich_progress.BarColumn(20),
        rich_progress.TaskProgressColumn(),
        rich_progress.TimeRemainingColumn(compact=True),
        rich_progress.TextColumn("{task.fields[words]}", markup=False),
        console=console,
        transient=True,
    )


def _duration(seconds: float) -> str:
    if seconds != seconds:
        return "? s"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
