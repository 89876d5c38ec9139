"""Memory: what the process keeps, and whether it ran out."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Final

# Names and numbers of glibc's malloc.h.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_LARGEST_MMAP_THRESHOLD: Final = 32 * 2**20


@cache
def keep_freed_memory() -> None:
    """Have the C library keep memory that is freed for the next array, where it knows how to.

    By default it gives large blocks back at once and asks for them anew, page by page: that took an eighth of the time of
    training small networks (measured). PyTorch does the same for itself on CUDA.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_TRIM_THRESHOLD, 2**30)
