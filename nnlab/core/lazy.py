"""Modules that are loaded at their first use.

Importing torch takes seconds; `nnlab --help`, a usage error and `nnlab list` must not wait for it. The catalogue's
functions use torch, but their names, parameters and docstrings can be read without it.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class _LazyModule(ModuleType):
    def __getattr__(self, name: str) -> object:
        module = import_module(self.__name__)
        # From here on an attribute costs what it costs on the module itself: no call in a hot loop.
        self.__dict__.update(vars(module))
        return getattr(module, name)


def lazy(name: str) -> ModuleType:
    """A stand-in for the module `name` that imports it at the first use of an attribute.

    importlib.util.LazyLoader does the same but puts its stand-in into sys.modules, where the half-loaded module is seen
    by every thread and library of the process.
    """
    return _LazyModule(name)
