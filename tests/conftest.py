"""What every test shares: random examples that are the same on every machine, and no clock on them."""

from __future__ import annotations

from hypothesis import settings

# Seeds are literal in these tests, hypothesis's too. No deadline: the first example may pay for `import torch`.
settings.register_profile("nnlab", deadline=None, derandomize=True)
settings.load_profile("nnlab")
