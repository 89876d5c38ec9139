"""The workers that train tiles: processes or threads, one for each core, each computing on its core alone.

Processes if a fork is safe, else threads. The interpreter runs one thread at a time, and small operations spend much of their time in
it: two threads took a tenth longer than two processes for wide layers, four tenths longer for narrow ones (measured). Forked workers
find runs, data and libraries in memory that they share with this process; only results are sent back.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

import torch

from nnlab.engine import looped
from nnlab.engine.device import use_one_core
from nnlab.engine.fit import fit
from nnlab.engine.halving import fit_in_memory
from nnlab.engine.hooks import FitOptions, Hooks
from nnlab.engine.outcomes import Fitted
from nnlab.engine.plan import Tile
from nnlab.engine.sources import Sources

E = TypeVar("E", bound=Executor)
_PR_SET_PDEATHSIG: Final = 1  # of linux/prctl.h
_SENT_BY_PEOPLE: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Work:
    """Tiles to be trained, and how."""

    tiles: Sequence[Tile]
    sources: Sources
    device: torch.device
    hooks: Hooks

    def train(self, index: int, is_stopped: Callable[[], bool]) -> TileResult:
        """Train the tile of this index; `is_stopped` is asked whether to give up."""
        tile, halved = self.tiles[index], list[int]()
        trainer = looped.fit if tile.program.engine == "loop" else fit
        data = self.sources.tile_data(tile, self.device)
        options = FitOptions(self.device, self.hooks, is_stopped)
        return TileResult(fit_in_memory(tile, data, options, trainer, halved.append), halved)


@dataclass(frozen=True)
class TileResult:
    """A tile that is over.

    Attributes:
        halved: for each group of runs that took too much memory, its number of runs.
    """

    runs: Sequence[Fitted]
    halved: Sequence[int]


@dataclass(frozen=True)
class Team:
    """Workers, each with a core of its own.

    Attributes:
        begin: starts training the tile of this index.
        result: the result of what `begin` returned, or its error.
        stop: makes all of them give up at their next step.
        num_ended: epochs of runs that have ended since the last call; always 0 if the workers call `on_epoch` themselves.
    """

    begin: Callable[[int], Future[Any]]
    result: Callable[[Future[Any]], TileResult]
    stop: Callable[[], None]
    num_ended: Callable[[], int] = lambda: 0


def team(work: Work, size: int) -> AbstractContextManager[Team]:
    """Context manager: workers for this work, `size` of them, or as many as there are tiles if those are fewer."""
    size = min(size, len(work.tiles))
    return _processes(work, size) if size > 1 and _may_fork() else _threads(work, max(size, 1))


def _may_fork() -> bool:
    """True if workers can be forked.

    After a fork beside an accelerator, PyTorch's autograd is unusable, and Apple's libraries do not survive a fork at all. A daemonic
    process, such as a worker of another pool, may have no children. In a program with threads of its own, one of them may hold a lock
    that its copy would wait for. And some sandboxes have no semaphores.
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
def _threads(work: Work, size: int) -> Iterator[Team]:
    """Context manager: a team of threads."""
    stop = threading.Event()
    threads: list[int] = []

    def settle() -> None:
        threads.append(threading.get_native_id())
        use_one_core()

    with _shut_down(ThreadPoolExecutor(size, thread_name_prefix="tile", initializer=settle)) as pool:
        yield Team(lambda index: pool.submit(work.train, index, stop.is_set), lambda future: future.result(), stop.set)
    _await_the_end_of(threads)


def _await_the_end_of(threads: Sequence[int]) -> None:
    """Return once the system has ended these threads, too, so that it is safe to fork.

    Before Python 3.13, joining a thread does not wait for the libraries to clean up behind it. MKL holds a lock meanwhile, and a worker
    forked at that moment waits for it forever: on a busy machine, one fork in ten that followed a thread at once (measured).
    """
    while any(Path(f"/proc/self/task/{thread}").exists() for thread in threads):
        time.sleep(1e-4)


@contextmanager
def _processes(work: Work, size: int) -> Iterator[Team]:
    """Context manager: a team of forked processes."""
    context = multiprocessing.get_context("fork")
    ended = context.RawArray(ctypes.c_int64, len(work.tiles))
    worker = _Worker(work, context.RawValue(ctypes.c_bool, False), ended)
    counted = 0

    def num_ended() -> int:
        nonlocal counted
        before, counted = counted, sum(ended)
        return counted - before

    with _shut_down(ProcessPoolExecutor(size, context, initializer=worker.settle)) as pool:
        _fork(pool)
        yield Team(
            lambda index: pool.submit(_train_here, index),
            lambda future: pickle.loads(future.result()),
            worker.stop,
            num_ended,
        )


def _fork(pool: ProcessPoolExecutor) -> None:
    """Start all the pool's workers, or none. Signals from the terminal are held back until the workers have set up their handling."""
    others = multiprocessing.active_children()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SENT_BY_PEOPLE)
    try:
        pool.submit(int)
    except BaseException:
        # One fork failed: the pool does not know of those that succeeded, and would never end them.
        for child in set(multiprocessing.active_children()) - set(others):
            child.kill()
            child.join()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _shut_down(pool: E) -> Iterator[E]:
    """Context manager: the pool; at the end tasks not yet begun are cancelled, and its workers are gone."""
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Worker:
    """The work of a forked process, and the memory that it shares with the process that forked it.

    Attributes:
        stopped: true once all workers are to give up.
        ended: for each tile, the epochs of its runs that have ended. Only the worker that trains the tile writes there, so there is
            no lock that a worker could die holding.
    """

    work: Work
    stopped: Any  # ctypes' types have no public names
    ended: Any

    def settle(self) -> None:
        """Set up the process in which this is called as a worker."""
        global _this_worker
        # Ctrl-C reaches every process of the terminal; the process that forked them decides what to do about it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SENT_BY_PEOPLE)
        # If that process is killed and can't tell its workers, the system kills them too.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Streams of its own: at the fork, another thread, such as the progress bar's, may have held the locks of the old ones.
        sys.stdout, sys.stderr = _own_stream(sys.__stdout__), _own_stream(sys.__stderr__)
        use_one_core()
        _this_worker = self

    def train(self, index: int) -> TileResult:
        """Train the tile of this index, counting ended epochs in shared memory: a callback would run in this process only."""

        def count(num_runs: int) -> None:
            self.ended[index] += num_runs

        work = replace(self.work, hooks=replace(self.work.hooks, on_epoch=count))
        return work.train(index, lambda: bool(self.stopped.value))

    def stop(self) -> None:
        """Make all workers give up at their next step."""
        self.stopped.value = True


# The worker of this process; None in a process that is not one. A pool sends tasks to its processes by pickling, and the work with all
# its data must not be pickled: it is there already, inherited through the fork. A task needs a module-level name to find it by.
_this_worker: _Worker | None = None


def _train_here(index: int) -> bytes:
    """Train a tile in a forked process; return the result as bytes, since multiprocessing would put each tensor into shared memory."""
    assert _this_worker is not None
    try:
        return pickle.dumps(_this_worker.train(index))
    except Exception as error:
        if _can_be_sent(error):
            raise
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _can_be_sent(error: Exception) -> bool:
    """True if the error arrives as it is sent: some exceptions can't be rebuilt from what they store."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - a person's own class may raise anything
        return False
    return True


def _own_stream(stream: TextIO | None) -> TextIO | None:
    """A new stream to the same place, without the other's lock; None if there is none."""
    if stream is None:
        return None
    try:
        return os.fdopen(os.dup(stream.fileno()), "w", buffering=1, errors="backslashreplace")
    except (OSError, ValueError):
        return None
