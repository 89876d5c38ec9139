"""Workers, forked or threads: the same numbers, and nothing of them is left behind."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from problems import CPU, SOURCES, numbers, runs_of, trained

from nnlab.core.errors import PartialError, UsageError
from nnlab.engine import plan, teams
from nnlab.engine.executors import Machine, execute
from nnlab.engine.hooks import Hooks, Seen
from nnlab.engine.outcomes import Fitted

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or torch.accelerator.is_available(),
    reason="workers are forked on Linux without accelerators",
)

SMALL = {"data": "moons:samples=60", "model": "mlp:hidden=4:dropout=0.2", "epochs": 3}
SIX = runs_of(SMALL, lrs=[0.1, 0.2, 1e30], seeds=[0, 1])
ENDLESS = runs_of({**SMALL, "epochs": 1_000_000}, lrs=[0.1, 0.2, 0.3])


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(plan, "_LARGEST_TILE", 2)


@pytest.mark.parametrize("engine", ["native", "vmap", "loop"])
def test_forked_workers_threads_and_one_worker_give_the_same_bits_and_weights(monkeypatch, engine):
    alone, forked = (trained(SIX, engine=engine, threads=threads) for threads in (1, 2))
    monkeypatch.setattr(teams, "_may_fork", lambda: False)
    threads = trained(SIX, engine=engine, threads=2)
    for run_id, fitted in alone.items():
        assert numbers(forked[run_id]) == numbers(threads[run_id]) == numbers(fitted)
        assert forked[run_id].record.run == fitted.record.run


def test_workers_are_other_processes_and_none_is_left():
    begun: list[list[int | None]] = []
    pids: set[object] = set()

    def pid_of(seen: Seen, epoch: int, data: object) -> list[list[dict[str, int]]]:
        return [[{"pid": os.getpid()}] for _ in seen.runs] if epoch == 0 else []

    def take(finished: list[Fitted]) -> None:
        pids.update(row["pid"] for fitted in finished for row in fitted.record.layers)

    def note() -> None:
        begun.append([child.pid for child in multiprocessing.active_children()])

    execute(SIX, SOURCES, Machine(CPU, 2), Hooks(take, on_begun=note, watch=pid_of))
    assert len(begun) == 1
    assert pids
    assert pids <= set(begun[0])
    assert not multiprocessing.active_children()


def test_epochs_that_end_in_workers_are_told_of():
    told: list[int] = []
    execute(SIX, SOURCES, Machine(CPU, 2), Hooks(on_epoch=told.append))
    assert sum(told) == 2 * (1 + 2 * 3)  # at rate 1e30 a run ends in its first epoch


def test_an_error_in_a_worker_is_told_as_it_was():
    def complain(*_: object) -> None:
        raise UsageError("--lr can't be that. Say another.")

    with pytest.raises(UsageError, match=r"^--lr can't be that. Say another.$"):
        execute(ENDLESS, SOURCES, Machine(CPU, 2), Hooks(watch=complain))
    assert not multiprocessing.active_children()


class _UnsendableError(Exception):
    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


def test_an_error_that_can_not_be_sent_is_told_in_words():
    def complain(*_: object) -> None:
        raise _UnsendableError("a bug", "a loss")

    with pytest.raises(RuntimeError, match=r"^_UnsendableError: a bug in a loss$"):
        execute(ENDLESS, SOURCES, Machine(CPU, 2), Hooks(watch=complain))


def test_a_thread_of_a_program_has_its_runs_trained_by_threads():
    pids: list[int] = []  # of another process, nothing would arrive here

    def look(*_: object) -> list[list[dict[str, int]]]:
        pids.append(os.getpid())
        return []

    with ThreadPoolExecutor(1) as pool:
        pool.submit(execute, SIX, SOURCES, Machine(CPU, 2), Hooks(watch=look)).result()
    assert set(pids) == {os.getpid()}


def test_threads_are_gone_from_the_system_when_their_team_ends():
    libc, key, ids = ctypes.CDLL(None), ctypes.c_uint(), set[int]()
    libc.pthread_key_create(
        ctypes.byref(key), libc.usleep
    )  # the clean-up of a thread that has set a value: sleep for so long

    def look(*_: object) -> list[list[dict[str, int]]]:
        libc.pthread_setspecific(key, ctypes.c_void_p(200_000))
        ids.add(threading.get_native_id())
        return []

    execute(SIX, SOURCES, Machine(CPU, 1), Hooks(watch=look))
    assert ids
    assert not any(Path(f"/proc/self/task/{thread}").exists() for thread in ids)


def test_a_fork_that_fails_leaves_no_worker(monkeypatch):
    forks: list[int] = []

    def scarce() -> int:
        forks.append(1)
        if len(forks) == 2:
            raise OSError("no memory for another process")
        return fork()

    fork = os.fork
    monkeypatch.setattr(os, "fork", scarce)
    with pytest.raises(OSError, match="another process"):
        execute(SIX, SOURCES, Machine(CPU, 2), Hooks())
    assert not multiprocessing.active_children()


def test_a_worker_that_the_system_kills_is_told_of_with_what_to_do():
    parent = os.getpid()

    def die(seen: object, epoch: int, data: object) -> list[list[dict[str, int]]]:
        if os.getpid() != parent and epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return []

    with pytest.raises(PartialError, match=r"killed a process .* the same command goes on .* threads 1"):
        execute(SIX, SOURCES, Machine(CPU, 2), Hooks(watch=die))
    assert not multiprocessing.active_children()


def _in_a_daemon(connection: multiprocessing.connection.Connection) -> None:
    connection.send([numbers(fitted) for fitted in trained(SIX, threads=2).values()])


def test_a_worker_of_somebodys_pool_trains_by_threads():
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_in_a_daemon, args=(there,), daemon=True)
    process.start()
    assert here.poll(60)
    assert sorted(map(str, here.recv())) == sorted(str(numbers(fitted)) for fitted in trained(SIX).values())
    process.join()


KILLED = """
import multiprocessing
from nnlab.engine import plan
from nnlab.engine.executors import Machine, execute
from nnlab.engine.hooks import Hooks
from test_teams import CPU, ENDLESS, SOURCES
plan._LARGEST_TILE = 2
pids = lambda: print(*[child.pid for child in multiprocessing.active_children()], flush=True)
execute(ENDLESS, SOURCES, Machine(CPU, 2), Hooks(print, on_begun=pids))
"""


def test_no_worker_outlives_a_command_that_is_killed():
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": paths}
    process = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    pids = process.stdout.readline().split()
    assert len(pids) == 2
    assert all(map(_lives, pids))
    process.kill()
    process.communicate()
    until = time.monotonic() + 20
    while any(map(_lives, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(_lives, pids))


def _lives(pid: str) -> bool:
    """True if there is such a process, and it is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
