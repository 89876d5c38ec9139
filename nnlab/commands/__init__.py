"""The commands, a file each, and the table of them: over it the command line, Python, the tests and the benchmarks loop.

A new command is one file here that ends with its COMMAND, one line in the table, and a page in docs/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Final

from nnlab.commands.command import AnyCommand, ExperimentCommand
from nnlab.commands.show import show_command

# The files of the commands that train, and of the others, in the order of `nnlab --help`.
_TRAINING: Final = ("sweep_lr", "compare_init", "compare_loss", "compare_schedule", "compare", "train")
_OTHERS: Final = ("gradcheck", "neuron", "predict", "list", "schedule", "doctor")


def _by_name(files: tuple[str, ...]) -> dict[str, Any]:
    commands = [import_module(f"nnlab.commands.{file}").COMMAND for file in files]
    return {command.name: command for command in commands}


# What `nnlab.run` carries out, and `nnlab show` shows the results of.
EXPERIMENTS: Final[Mapping[str, ExperimentCommand[Any]]] = _by_name(_TRAINING)

# Every command.
COMMANDS: Final[Mapping[str, AnyCommand]] = {**EXPERIMENTS, "show": show_command(EXPERIMENTS), **_by_name(_OTHERS)}


def setting_names(commands: Iterable[AnyCommand]) -> frozenset[str]:
    """Every setting that some command has: the names that the environment may hold."""
    classes = [kind for command in commands for kind in (command.settings, command.output)]
    return frozenset(name for kind in classes for name in kind.model_fields)
