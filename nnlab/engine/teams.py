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
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TextIO, TypeVar

import torch

from nnlab.engine import looped
from nnlab.engine.device import one_core
from nnlab.engine.fit import FitOptions, Watch, fit
from nnlab.engine.halving import fit_in_memory
from nnlab.engine.outcomes import Fitted
from nnlab.engine.plan import Tile
from nnlab.engine.sources import Sources

Pool = TypeVar("Pool", bound=Executor)
_PR_SET_PDEATHSIG: Final = 1  # of linux/prctl.h
_SENT_BY_PEOPLE: Final = (signal.SIGINT, signal.SIGTERM)


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

    def tile(self, index: int, *, is_stopped: Callable[[], bool], on_epoch: Callable[[int], None]) -> Trained:
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


def team(work: Work, size: int, on_epoch: Callable[[int], None]) -> AbstractContextManager[Team]:
    """Within, workers are there.

    Args:
        work: what they do.
        size: how many, where there are as many tiles.
        on_epoch: told by threads, from any of them, how many runs have just ended an epoch.
    """
    size = min(size, len(work.tiles))
    return _processes(work, size) if size > 1 and _may_fork() else _threads(work, max(size, 1), on_epoch)


def _may_fork() -> bool:
    """Whether workers can be forked.

    Where there is an accelerator, a fork leaves PyTorch's autograd unusable, and Apple's libraries do not survive one at all. What is
    a worker of somebody's pool itself may have no children; where a program has threads of its own, one of them may hold a lock that
    its copy would wait for; and some sandboxes have no semaphores.
    """
    return (
        sys.platform == "linux"
        and not torch.accelerator.is_available()
        and not multiprocessing.current_process().daemon
        and threading.current_thread() is threading.main_thread()
        and _has_semaphores()
    )


@cache
def _has_semaphores() -> bool:
    try:
        multiprocessing.get_context("fork").Lock()
    except (ImportError, OSError):
        return False
    return True


@contextmanager
def _threads(work: Work, size: int, on_epoch: Callable[[int], None]) -> Iterator[Team]:
    stop = threading.Event()

    def train(index: int) -> Trained:
        return work.tile(index, is_stopped=stop.is_set, on_epoch=on_epoch)

    with _closing(ThreadPoolExecutor(size, thread_name_prefix="tile", initializer=one_core)) as pool:
        yield Team(lambda index: pool.submit(train, index), lambda future: future.result(), stop.set)


@contextmanager
def _processes(work: Work, size: int) -> Iterator[Team]:
    context = multiprocessing.get_context("fork")
    ended = context.RawArray(ctypes.c_int64, len(work.tiles))
    worker = _Worker(work, context.RawValue(ctypes.c_bool, False), ended)
    told = 0

    def num_ended() -> int:
        nonlocal told
        before, told = told, sum(ended)
        return told - before

    with _closing(ProcessPoolExecutor(size, context, initializer=worker.settle)) as pool:
        _fork(pool)
        yield Team(
            lambda index: pool.submit(_train, index),
            lambda future: pickle.loads(future.result()),
            worker.stop,
            num_ended,
        )


def _fork(pool: ProcessPoolExecutor) -> None:
    """Have the workers there, all or none. What a terminal sends meanwhile waits until they know what to do about it."""
    others = multiprocessing.active_children()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SENT_BY_PEOPLE)
    try:
        pool.submit(int)
    except BaseException:
        # One fork failed: the pool does not know of those that did not, and would never end them.
        for child in set(multiprocessing.active_children()) - set(others):
            child.kill()
            child.join()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _closing(pool: Pool) -> Iterator[Pool]:
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
        ended: for each tile, how many epochs of its runs have ended; likewise. Only the worker that trains it writes there, so that
            none can die with a lock in its hand.
    """

    work: Work
    stopped: Any  # ctypes' types have no names to be written here
    ended: Any

    def settle(self) -> None:
        """Begin as a worker."""
        # Ctrl-C reaches every process of the terminal; what is to be done about it, the first of them says.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SENT_BY_PEOPLE)
        # No worker outlives a process that is killed and can't say so.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Streams of its own: the locks of the others may have been held by another thread at the fork, such as the progress bar's.
        sys.stdout, sys.stderr = _own(sys.__stdout__), _own(sys.__stderr__)
        one_core()
        _HERE.append(self)

    def train(self, index: int) -> Trained:
        def count(num_runs: int) -> None:
            self.ended[index] += num_runs

        return self.work.tile(index, is_stopped=lambda: bool(self.stopped.value), on_epoch=count)

    def stop(self) -> None:
        self.stopped.value = True


_HERE: Final[list[_Worker]] = []  # in a forked process its worker; elsewhere none


def _train(index: int) -> bytes:
    """In a forked process: the tile trained. As bytes, since multiprocessing would put every tensor into shared memory."""
    try:
        return pickle.dumps(_HERE[0].train(index))
    except Exception as error:
        if _travels(error):
            raise
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _travels(error: Exception) -> bool:
    """Whether the error arrives as it is sent: some exceptions can't be made again from what they keep."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever a person's own class does
        return False
    return True


def _own(stream: TextIO | None) -> TextIO | None:
    """A stream to the same place, without the other's lock; none where there is none."""
    if stream is None:
        return None
    try:
        return os.fdopen(os.dup(stream.fileno()), "w", buffering=1, errors="backslashreplace")
    except (OSError, ValueError):
        return None
