"""The factors on the learning rate at each step, for contestants that can't use PyTorch's schedulers."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.workloads import Workload


def rate_factors(workload: Workload, num_rows: int) -> np.ndarray:
    """[steps]: 1 without a schedule; for one-cycle PyTorch's two cosines, from 1/25 up to 1 and down to 1/250000."""
    steps = -(-num_rows // workload.batch_size) * workload.epochs
    if workload.schedule == "none":
        return np.ones(steps, np.float32)
    peak, end, first, last = 0.3 * steps - 1, steps - 1.0, 1 / 25, 1 / 25e4
    rising = [_cosine(first, 1, step / peak) for step in range(steps) if step <= peak]
    falling = [_cosine(1, last, (step - peak) / (end - peak)) for step in range(len(rising), steps)]
    return np.array(rising + falling, np.float32)


def _cosine(start: float, stop: float, part: float) -> float:
    return stop + (start - stop) / 2 * (1 + math.cos(math.pi * part))
