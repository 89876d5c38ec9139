"""Formulas that use each other's names, such as `h = X*Y + X; X = sin(t); Y = t**2`: read safely, computed in float64 tensors.

Python's own parser reads the text; only arithmetic and the functions below are accepted, and no code is executed.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Final

import torch
from torch import Tensor

from nnlab.core.errors import UsageError, did_you_mean
from nnlab.core.spelling import mention

MOST_CHARACTERS: Final = 4000
_DEEPEST: Final = 100

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BINARY: Final[Mapping[type[ast.operator], Callable[[Tensor, Tensor], Tensor]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_FUNCTIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "abs": torch.abs,
    "cos": torch.cos,
    "exp": torch.exp,
    "log": torch.log,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "sin": torch.sin,
    "softplus": torch.nn.functional.softplus,
    "sqrt": torch.sqrt,
    "tan": torch.tan,
    "tanh": torch.tanh,
}
_ACCEPTED: Final = f"Accepted: numbers, names, + - * / **, parentheses, {' '.join(sorted(_FUNCTIONS))}."


@dataclass(frozen=True)
class Formula:
    """`name = text`, a function of the names in the text.

    Attributes:
        arguments: the names, in the order of their first use.
    """

    name: str
    text: str
    arguments: tuple[str, ...]
    _tree: ast.expr = field(repr=False, compare=False)

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """The value of the formula when the arguments have these values."""
        return _value(self._tree, values)


def parse_formulas(text: str, *, what: str = mention("chain")) -> tuple[Formula, ...]:
    """The formulas in `text`, separated by `;` or line ends, in an order in which they can be computed.

    Raises:
        UsageError: text that is not arithmetic, a name defined twice, or names that define each other in a circle.
    """
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"{what} has {len(text)} characters, and at most {MOST_CHARACTERS} are accepted.")
    parts = [part.strip() for part in re.split(r"[;\n]", text) if part.strip()]
    if not parts:
        raise UsageError(f"{what} is empty. Write NAME=FORMULA; NAME=FORMULA, such as 'h=X*Y+X; X=sin(t); Y=t**2'.")
    formulas = [_formula(part, what) for part in parts]
    by_name = {formula.name: formula for formula in formulas}
    if len(by_name) < len(formulas):
        twice = next(f.name for f in formulas if sum(other.name == f.name for other in formulas) > 1)
        raise UsageError(f"{what} defines {twice!r} twice.")
    graph = {formula.name: [a for a in formula.arguments if a in by_name] for formula in formulas}
    try:
        return tuple(by_name[name] for name in TopologicalSorter(graph).static_order())
    except CycleError as cycle:
        names = " <- ".join(map(str, cycle.args[1]))
        raise UsageError(f"{what} defines names in a circle: {names}. Give one of them a value.") from None


def _formula(part: str, what: str) -> Formula:
    name, equals, text = (piece.strip() for piece in part.partition("="))
    if not equals or not _NAME.fullmatch(name):
        raise UsageError(f"{what} {part!r} is not NAME=FORMULA, such as X=sin(t).")
    if name in _FUNCTIONS:
        raise UsageError(f"{what} {part!r}: {name!r} is a function. Choose another name.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser warns about spellings that are refused below
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise UsageError(f"{what} {part!r} can't be read as arithmetic. {_ACCEPTED}") from None
    problem = _problem(tree, _DEEPEST)
    if problem:
        raise UsageError(f"{what} {part!r} {problem} {_ACCEPTED}")
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id not in _FUNCTIONS)
    ordered = sorted(names, key=lambda node: (node.lineno, node.col_offset))
    return Formula(name, text, tuple(dict.fromkeys(node.id for node in ordered)), tree)


def _problem(node: ast.expr, depth: int) -> str:
    """The reason why `node` is not arithmetic, as the end of a sentence; empty if it is arithmetic."""
    if not depth:
        return "is nested too deeply."
    match node:
        case ast.Constant(value=value):
            return "" if type(value) in (int, float) else f"has {value!r}, which is not a real number."
        case ast.Name(id=name):
            return f"uses the function {name!r} without an argument." if name in _FUNCTIONS else ""
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
            return _problem(operand, depth - 1)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _problem(left, depth - 1) or _problem(right, depth - 1)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return _problem(argument, depth - 1)
        case ast.Call(func=ast.Name(id=name)):
            return f"calls {name!r} in a way that is not accepted.{did_you_mean(name, _FUNCTIONS)}"
    return f"has {ast.unparse(node)!r}, which is not arithmetic."


def _value(node: ast.expr, at: Mapping[str, Tensor]) -> Tensor:
    match node:
        case ast.Constant(value=int() | float() as value):
            return torch.tensor(float(value), dtype=torch.float64)
        case ast.Name(id=name):
            return at[name]
        case ast.UnaryOp(op=op, operand=operand):
            inner = _value(operand, at)
            return -inner if isinstance(op, ast.USub) else inner
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, at), _value(right, at))
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return _FUNCTIONS[name](_value(argument, at))
    raise AssertionError(f"{node!r} was not checked by parse_formulas")
