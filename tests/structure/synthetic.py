"""Small modules with a planted violation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LAZY: Final = "from nnlab.core.lazy import lazy\n"


def tree(modules: Mapping[str, str]) -> dict[str, str]:
    """The modules, each at its path from the root of the repository."""
    return {f"nnlab/{path}": source for path, source in modules.items()}
