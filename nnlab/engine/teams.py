"""Who trains tiles: processes or threads, one a core, each computing on its core alone.

Processes where a fork is safe, threads elsewhere. The interpreter runs one thread at a time, and small operations spend long in it:
two threads took a tenth longer than two processes for wide layers, four tenths longer for narrow ones (measured).
Forked workers find runs, data and libraries in memory that they share with this process; only results are sent.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, Final

import torch

from nnlab.engine import looped
from nnlab.engine.fit import FitOptions, Watch, fit
from nnlab.engine.halving import fit_in_memory
from nnlab.engine.outcomes import Fitted
from nnlab.engine.plan import Tile
from nnlab.engine.sources import Sources

_PR_SET_PDEATHSIG: Final = 1  # of linux/prctl.h


@dataclass(frozen=True)
class Work:
    """Tiles to be trained, and how.

    Attributes:
        keep_weights: finished runs carry their parameters.
        watch: a probe, called at every epoch's end.
    """

    tiles: Sequence[Tile]
    sources: Sources
    device: torch.device
    keep_weights: bool
    watch: Watch | None

    def tile(self, index: int, *, is_stopped: Callable[[], bool], on_epoch: Callable[[int], None] | None) -> Trained:
        """Train one tile."""
        tile, halved = self.tiles[index], list[int]()
        options = FitOptions(self.device, is_stopped, self.keep_weights, self.watch, on_epoch)
        train = looped.fit if tile.program.settings.engine == "loop" else fit
        data = self.sources.tile_data(tile, self.device)
        return Trained(fit_in_memory(tile, data, options, train, halved.append), halved)


@dataclass(frozen=True)
class Trained:
    """A tile that is over.

    Attributes:
        halved: of each group that took more memory than there was, how many runs it had.
    """

    runs: Sequence[Fitted]
    halved: Sequence[int]


@dataclass(frozen=True)
class Team:
    """Workers, each with a core of its own.

    Attributes:
        begin: has the tile of this index trained.
        result: what came of it.
        stop: has all of them give up at their next step.
        num_ended: epochs of runs that have ended since it was asked last; always 0 where the workers tell of them themselves.
    """

    begin: Callable[[int], Future[Any]]
    result: Callable[[Future[Any]], Trained]
    stop: Callable[[], None]
    num_ended: Callable[[], int] = lambda: 0


@contextmanager
def team(work: Work, size: int, on_epoch: Callable[[int], None] | None) -> Iterator[Team]:
    """Within, so many workers are there.

    Args:
        work: what they do.
        size: how many.
        on_epoch: told by threads, from any of them, how many runs have just ended an epoch.
    """
    of = _processes(work, size) if _may_fork(work, size) else _threads(work, size, on_epoch)
    with of as workers:
        yield workers


def _may_fork(work: Work, size: int) -> bool:
    """Whether workers can be forked, and there is anything for a second one to do.

    Where there is an accelerator, a fork leaves PyTorch's autograd unusable, and Apple's libraries do not survive one at all. What is
    a worker of somebody's pool itself may have no children.
    """
    return (
        min(size, len(work.tiles)) > 1
        and sys.platform == "linux"
        and not torch.accelerator.is_available()
        and not multiprocessing.current_process().daemon
    )


@contextmanager
def _threads(work: Work, size: int, on_epoch: Callable[[int], None] | None) -> Iterator[Team]:
    stop = Event()

    def train(index: int) -> Trained:
        return work.tile(index, is_stopped=stop.is_set, on_epoch=on_epoch)

    with _closing(ThreadPoolExecutor(size, thread_name_prefix="tile", initializer=one_core)) as pool:
        yield Team(lambda index: pool.submit(train, index), lambda future: future.result(), stop.set)


@contextmanager
def _processes(work: Work, size: int) -> Iterator[Team]:
    context = multiprocessing.get_context("fork")
    worker = _Worker(work, context.RawValue(ctypes.c_bool, False), context.Value(ctypes.c_int64, 0))
    size = min(size, len(work.tiles))
    with _closing(ProcessPoolExecutor(size, context, initializer=worker.settle)) as pool:
        yield Team(
            lambda index: pool.submit(_train, index),
            lambda future: pickle.loads(future.result()),
            worker.stop,
            worker.num_ended,
        )


@contextmanager
def _closing(pool: Executor) -> Iterator[Executor]:
    """The pool; at the end nothing of it is left, and what was not begun is not begun any more."""
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Worker:
    """What a worker has at hand, and what it shares with the process that it was forked from.

    Attributes:
        stopped: memory that all of them see.
        ended: epochs of runs that have ended and were not told of yet; likewise.
    """

    work: Work
    stopped: Any  # ctypes' and multiprocessing's types have no names to be written here
    ended: Any

    def settle(self) -> None:
        """Begin as a worker."""
        # Ctrl-C reaches every process of the terminal; what is to be done about it, the first of them says.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # No worker outlives a process that is killed and can't say so.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # A warning is written without the lock of the stream, which another thread may have held at the fork.
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        one_core()
        _HERE.append(self)

    def train(self, index: int) -> Trained:
        return self.work.tile(index, is_stopped=lambda: bool(self.stopped.value), on_epoch=self._count)

    def stop(self) -> None:
        self.stopped.value = True

    def num_ended(self) -> int:
        with self.ended.get_lock():
            found, self.ended.value = self.ended.value, 0
        return int(found)

    def _count(self, num_runs: int) -> None:
        with self.ended.get_lock():
            self.ended.value += num_runs


_HERE: Final[list[_Worker]] = []  # in a forked process its worker; elsewhere none


def _train(index: int) -> bytes:
    """In a forked process: the tile trained. As bytes, since multiprocessing would put every tensor into shared memory."""
    return pickle.dumps(_HERE[0].train(index))


def one_core() -> None:
    """This thread computes on one core from now on, and flushes denormals: vanishing numbers cost no more than others."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Within, this thread computes on one core and flushes denormals. Not for use beside tiles: part of it is global."""
    before = torch.get_num_threads()
    one_core()
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
