"""Facts about this machine, and the rate of its large matrix products: an upper limit for every engine."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch

from nnlab import __version__
from nnlab.engine.device import core_count, device_names

_SIDE: Final = 1024  # of the matrices multiplied: too large for a cache
_SECONDS: Final = 0.25  # of each measurement
_GIB: Final = 2**30


def machine_facts(device: torch.device) -> Mapping[str, str]:
    """The facts by name, in words. The rates are measured, which takes a second or two.

    Args:
        device: the device to train on.
    """
    facts = {
        "device": _device_text(device),
        "devices": ", ".join(device_names()),
        "processor": _processor(),
        "cores": str(core_count()),
        "threads of PyTorch": str(torch.get_num_threads()),
        "memory": _memory(),
        "nnlab": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "pandas": version("pandas"),
        "BLAS": _blas(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
    }
    return facts | _rates(device)


def _rates(device: torch.device) -> dict[str, str]:
    """The rates of large products by name, in words."""
    cpu, cores = torch.device("cpu"), core_count()
    found = {}
    with _num_threads(1):
        found["float32 products, 1 core"] = _rate_text(product_rate(cpu, torch.float32))
        found["bfloat16 products, 1 core"] = _rate_text(product_rate(cpu, torch.bfloat16))
    with _num_threads(cores):
        found[f"float32 products, all {cores} cores"] = _rate_text(product_rate(cpu, torch.float32))
    if device.type != "cpu":
        found |= {
            f"{name} products, {device}": _rate_text(product_rate(device, getattr(torch, name)))
            for name in ("float32", "bfloat16")
        }
    return found


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a product of large square matrices [n, n], 2 n^3 multiplications and additions: the best of several."""
    one, other = (torch.ones(_SIDE, _SIDE, dtype=dtype, device=device) for _ in range(2))
    one @ other  # the first product also initialises libraries
    _synchronise(device)
    took: list[float] = []
    while sum(took) < _SECONDS:
        start = time.perf_counter()
        one @ other
        _synchronise(device)
        took.append(time.perf_counter() - start)
    return 2 * _SIDE**3 / min(took)


def _synchronise(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def _rate_text(rate: float) -> str:
    return f"{rate / 1e9:.0f} GFLOP/s"


@contextmanager
def _num_threads(num: int) -> Iterator[None]:
    """Context manager: PyTorch computes with this number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(num)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device_text(device: torch.device) -> str:
    if device.type != "cuda":
        return str(device)
    properties = torch.cuda.get_device_properties(device)
    return f"{device}, {properties.name}, {properties.total_memory / _GIB:.0f} GiB"


def _processor() -> str:
    """The processor's model, or its architecture if the system does not name the model."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.is_file() else None
    return named[1] if named else platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / _GIB:.1f} GiB"
    except (AttributeError, ValueError):  # this system has no sysconf, or not these names
        return "unknown"


def _blas() -> str:
    named = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return named[1] if named else "unknown"
