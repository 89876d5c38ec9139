"""torch.compile of a whole step of torch.func's vmap, gradient and update."""

from __future__ import annotations

import os
import shutil
from functools import cache

import torch

from benchmarks.chunks import COMPILED_SIZES
from benchmarks.contestant import task_of_command_line, unavailable
from benchmarks.peers import torch_vmap


@cache
def programs_of(model: str, optimizer: str) -> torch_vmap.Programs:
    """Compiled for the shapes that come: a full batch, and a last one that is short."""
    plain = torch_vmap.programs_of(model, optimizer)
    return torch_vmap.Programs(torch.compile(plain.step, dynamic=False), torch.compile(plain.measure, dynamic=False))


if __name__ == "__main__":
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        unavailable("no C++ compiler")
    torch._dynamo.config.cache_size_limit = 64  # sizes tried x batch shapes x parts
    given = task_of_command_line()
    torch_vmap.compete(given, programs_of, COMPILED_SIZES[given.workload.key])
