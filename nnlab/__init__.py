"""nnlab: a laboratory for training neural networks, at the command line and in Python.

import nnlab

results = nnlab.run("sweep-lr", data="moons", lr="1e-3:10:16", seeds=5)
results.summary
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnlab.api import run
    from nnlab.experiments.results import Results

__version__ = "0.1.0"
__all__ = ["Results", "__version__", "run"]


def __getattr__(name: str) -> object:
    """`run` and `Results`, loaded when they are asked for: the program itself starts without them."""
    if name == "run":
        from nnlab.api import run

        return run
    if name == "Results":
        from nnlab.experiments.results import Results

        return Results
    raise AttributeError(f"module 'nnlab' has no attribute {name!r}")
