"""Set-up of every test: random examples that are the same on every machine, no clock on them, and a core for each worker."""

from __future__ import annotations

import gc
import os

from hypothesis import settings

# Seeds are literal in these tests, hypothesis's too. No deadline: the first example may pay for `import torch`.
settings.register_profile("nnlab", deadline=None, derandomize=True)
settings.load_profile("nnlab")

# Workers of `pytest -n` share the cores. Each with threads for all of them, they would spend most of their time waiting for
# each other. OpenMP, and so PyTorch and OpenBLAS, reads this when it is loaded, and so do the processes that a test starts.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_finish() -> None:
    """Leave the loaded libraries and the tests out of garbage collection: half a million objects that stay until the end.

    Going through them took a tenth of the suite's time.
    """
    gc.freeze()
