"""What the shell offers for the arguments of `nnlab list`."""

from __future__ import annotations

import typer


def kinds_beginning(incomplete: str) -> list[str]:
    """The kinds of ingredient that begin so."""
    from nnlab.ingredients.index import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]


def names_beginning(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names, of the kind that stands before, that begin so."""
    from nnlab.ingredients.index import KINDS

    return [name for name in KINDS.get(ctx.params.get("kind") or "", ()) if name.startswith(incomplete)]
