"""A computation taken apart by the chain rule, as rows: numbers, steps, paths and sums."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pandas as pd

from nnlab.diagnostics.chain.chain_rule import ChainRule

CHAIN_COLUMNS: Final = (
    "row",
    "name",
    "formula",
    "value",
    "upstream",
    "local",
    "product",
    "paths",
    "autograd",
    "numeric",
)


def chain_table(chain: ChainRule) -> pd.DataFrame:
    """Every number of the computation, a row each.

    Returns: columns CHAIN_COLUMNS; `row` is the kind of the row, and decides which columns it fills:
        number  `name`, `formula`, `value`, `upstream` = dL/d(name)
        step    `name` = `of by`, the `local` derivative, the `upstream` derivative of `of`, their `product`
        path    `name` = from output to input, `formula` = the local derivatives, their `product`
        sum     `name`, the number of `paths`, the sum of their products as `value`, `autograd`, `numeric`
    """
    frame = pd.DataFrame(_rows(chain), columns=list(CHAIN_COLUMNS))
    # Nullable types, so that a cell without a value is empty and not "nan".
    return frame.astype({**dict.fromkeys(CHAIN_COLUMNS[3:], "Float64"), "paths": "Int64"})


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
