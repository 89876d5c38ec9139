"""The commands, one file each, and their table, over which the command line, Python, the tests and the benchmarks loop.

A new command is one file here that ends with its COMMAND, one line in the table, and a page in docs/.

A command imports what plans, computes and concludes inside the functions that do so: with the catalogue, the data and the
networks that takes 60 ms, and help, completion and a misspelt option need none of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from nnlab.commands.command import AnyCommand, ExperimentCommand
from nnlab.commands.show import show_command


def _by_name(*modules: ModuleType) -> dict[str, Any]:
    return {module.COMMAND.name: module.COMMAND for module in modules}


# The commands that train: `nnlab.run` carries them out, and `nnlab show` shows their results.
EXPERIMENTS: Final[Mapping[str, ExperimentCommand[Any]]] = _by_name(
    import_module("nnlab.commands.sweep_lr"),
    import_module("nnlab.commands.compare_init"),
    import_module("nnlab.commands.compare_loss"),
    import_module("nnlab.commands.compare_schedule"),
    import_module("nnlab.commands.compare"),
    import_module("nnlab.commands.train"),
)

# Every command, in the order of `nnlab --help`.
COMMANDS: Final[Mapping[str, AnyCommand]] = {
    **EXPERIMENTS,
    **_by_name(
        import_module("nnlab.commands.gradcheck"),
        import_module("nnlab.commands.neuron"),
        import_module("nnlab.commands.predict"),
    ),
    "show": show_command(EXPERIMENTS),
    **_by_name(
        import_module("nnlab.commands.list"),
        import_module("nnlab.commands.schedule"),
        import_module("nnlab.commands.doctor"),
    ),
}


def setting_names(commands: Iterable[AnyCommand]) -> frozenset[str]:
    """Every setting that some command has: the names that the environment may hold."""
    classes = [kind for command in commands for kind in (command.settings, command.output)]
    return frozenset(name for kind in classes for name in set(kind.model_fields).difference(kind.arguments()))
