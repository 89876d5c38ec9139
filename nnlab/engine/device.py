"""Devices: what `--device` means on this machine."""

from __future__ import annotations

import os

import torch

from nnlab.core.errors import UsageError


def available() -> list[str]:
    """The names that `--device` accepts here, besides auto."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def device_named(name: str, dtype: str) -> torch.device:
    """The device that `name` stands for; auto takes CUDA, then Apple's, then the CPU.

    Raises:
        UsageError: no such device here (says which there are), or one that can't compute in `dtype`.
    """
    here = available()
    if name == "auto":
        usable = [device for device in here if device != "mps" or dtype != "float64"]
        name = next((device for device in ("cuda", "mps") if device in usable), "cpu")
    if name not in here:
        raise UsageError(f"--device {name!r} is not there. This machine has: {', '.join(here)}.")
    if name == "mps" and dtype == "float64":
        raise UsageError("--device mps has no float64. Take --dtype float32, or --device cpu.")
    return torch.device(name)


def core_count() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
