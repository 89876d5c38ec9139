"""One tree of commands for all tests of the command line."""

from __future__ import annotations

from functools import cache

import pytest
import typer
import typer.testing


@pytest.fixture(autouse=True, scope="session")
def tree_of_commands():
    """Have Typer build the tree of commands once. It builds the same one at each call, which takes 25 ms."""
    once = cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", once)
        patch.setattr(typer.testing, "_get_command", once)
        yield
