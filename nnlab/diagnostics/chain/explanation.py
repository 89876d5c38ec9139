"""What does the chain rule say of this computation? A small net, or formulas, as rows: numbers, steps, paths and sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from nnlab.core.errors import UsageError, unknown_name
from nnlab.core.kinds import parse_value
from nnlab.core.lazy import lazy
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.diagnostics.chain.chain_rule import ChainRule
else:
    pd = lazy("pandas")

# What says how an explanation looks, or what it is of.
_OF_NET: Final = ("explain", "model", "activation", "seed", "all")
_OF_FORMULAS: Final = ("explain", "chain", "at", "all")
# Activations that are one function of `nnlab.diagnostics.chain.formulas`.
_PLAIN: Final = ("relu", "sigmoid", "softplus", "tanh")
COLUMNS: Final = ("row", "name", "formula", "value", "upstream", "local", "product", "paths", "autograd", "numeric")


def explained(settings: Any) -> tuple[ChainRule, str]:
    """The computation taken apart, and its title.

    Raises:
        UsageError: options that belong to a check, formulas or values that can't be what is meant.
    """
    _refuse_strays(settings, _OF_NET if settings.chain is None else _OF_FORMULAS)
    if settings.chain is not None:
        at = _values(settings.at or "")
        from nnlab.diagnostics.chain.chain_rule import chain_rule

        return chain_rule(settings.chain, at), settings.chain
    hidden, activation = _hidden(settings.model), settings.activation or Spec("sigmoid")
    if str(activation) not in _PLAIN:
        raise unknown_name(f"{mention('activation')} of {mention('explain')}", str(activation), _PLAIN)
    from nnlab.diagnostics.chain.chain_rule import small_net

    seed = 2 if settings.seed is None else settings.seed
    title = f"2 inputs, hidden neurons {'x'.join(map(str, hidden))}, {activation}, L = (y - target)**2 / 2, seed {seed}"
    return small_net(hidden=hidden, activation=activation.name, seed=seed), title


def _refuse_strays(settings: Any, accepted: tuple[str, ...]) -> None:
    fresh = type(settings)()
    changed = [n for n in type(settings).model_fields if getattr(settings, n) != getattr(fresh, n)]
    strays = [name for name in changed if name not in accepted]
    if strays:
        what = mention("chain") if settings.chain is not None else mention("explain")
        takes = ", ".join(mention(name) for name in accepted if name not in ("explain", "chain", "all"))
        raise UsageError(f"{what} does not go with {mention(strays[0])}, which is of a check. It takes {takes}.")


def _values(text: str) -> Mapping[str, float]:
    """`t=0.7,u=2` as numbers by name."""
    values: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, number = (word.strip() for word in part.partition("="))
        if not equals or not name.isidentifier():
            raise UsageError(f"{mention('at')} takes NAME=X,NAME=X, such as t=0.7, not {text!r}.")
        if name in values:
            raise UsageError(f"{mention('at')} {text!r} gives {name!r} twice.")
        values[name] = float(parse_value("Number", number, what=mention("at", name)))  # type: ignore[arg-type]
    return values


def _hidden(model: Spec | None) -> tuple[int, ...]:
    if model is None:
        return (3, 2)
    hidden = model.option("hidden")
    if model.name != "mlp" or hidden is None or len(model.options) > 1:
        raise UsageError(
            f"{mention('explain')} takes {mention('model', 'mlp:hidden=3x2')} or other sizes, not {model}."
        )
    return parse_value("Sizes", hidden, what=mention("model", "mlp:hidden"))  # type: ignore[return-value]


def chain_frame(chain: ChainRule) -> pd.DataFrame:
    """Every number of it, a row each.

    Returns: columns COLUMNS; `row` says what a row is and which of the others it has:
        number  `name`, `formula`, `value`, `upstream` = dL/d(name)
        step    `name` = `of by`, the `local` derivative, the `upstream` that arrives at `of`, their `product`
        path    `name` = from output to input, `formula` = the local derivatives, their `product`
        sum     `name`, how many `paths`, the sum of their products as `value`, `autograd`, `numeric`
    """
    frame = pd.DataFrame(_rows(chain), columns=list(COLUMNS))
    # Nullable, so that a cell to which nothing applies is empty and not "nan".
    return frame.astype({**dict.fromkeys(COLUMNS[3:], "Float64"), "paths": "Int64"})


def _rows(chain: ChainRule) -> Iterator[dict[str, object]]:
    for node in chain.nodes:
        yield {
            "row": "number",
            "name": node.name,
            "formula": node.formula,
            "value": node.value,
            "upstream": node.upstream,
        }
    for link in chain.links:
        yield {
            "row": "step",
            "name": f"{link.of} by {link.by}",
            "local": link.local,
            "upstream": link.upstream,
            "product": link.product,
        }
    for path in chain.paths:
        factors = " * ".join(f"{local:.6g}" if local >= 0 else f"({local:.6g})" for local in path.locals)
        yield {"row": "path", "name": " > ".join(path.names), "formula": factors, "product": path.product}
    for total in chain.totals:
        yield {
            "row": "sum",
            "name": total.by,
            "paths": total.paths,
            "value": total.total,
            "autograd": total.autograd,
            "numeric": total.numeric,
        }
