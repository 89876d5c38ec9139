"""Devices: the one that `--device` names on this machine, and how a thread uses its core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nnlab.core.errors import UsageError
from nnlab.core.spelling import mention


def device_names() -> list[str]:
    """The names that `--device` accepts on this machine, besides auto."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def device_named(name: str, dtype: str) -> torch.device:
    """The device called `name`; auto is CUDA, else Apple's, else the CPU.

    Raises:
        UsageError: no such device on this machine (the message lists those there are), or one that can't compute in `dtype`.
    """
    here = device_names()
    if name == "auto":
        usable = [device for device in here if device != "mps" or dtype != "float64"]
        name = next((device for device in ("cuda", "mps") if device in usable), "cpu")
    if name not in here:
        raise UsageError(f"{mention('device')} {name!r} is not there. This machine has: {', '.join(here)}.")
    if name == "mps" and dtype == "float64":
        raise UsageError(
            f"{mention('device', 'mps')} has no float64. Take {mention('dtype', 'float32')}, or {mention('device', 'cpu')}."
        )
    return torch.device(name)


def core_count() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Context manager: if wanted, PyTorch uses only algorithms that give the same bits each time. The setting is the process's.

    Raises:
        UsageError: an operation has no such algorithm on its device.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it is first used
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        what = str(error).partition(", but")[0]
        raise UsageError(
            f"{mention('deterministic')}: {what}. Leave it out, or take another {mention('device')}."
        ) from error
    finally:
        torch.use_deterministic_algorithms(before)


def use_one_core() -> None:
    """Make this thread compute on one core, and flush denormals: vanishing numbers then take no more time than others."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@contextmanager
def single_core() -> Iterator[None]:
    """Context manager: this thread computes on one core and flushes denormals. Not for use beside tiles: part of it is global."""
    before = torch.get_num_threads()
    use_one_core()
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
