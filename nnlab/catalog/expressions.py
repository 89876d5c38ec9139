"""Arithmetic that a person writes, such as `0.95**epoch`: parsed by Python's parser, evaluated here, never executed.

Every number is a 64-bit float, so no power can grow into an integer of a million digits. The text is short, so no nesting
can exhaust the stack.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nnlab.core.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST: Final = 200

_CONSTANTS: Final[Mapping[str, float]] = {"pi": math.pi}

_UNARY: Final[Mapping[type[ast.unaryop], Callable[[float], float]]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}

_BINARY: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: math.pow,  # the operator would return a complex number for a negative base
}

_UNARY_FUNCTIONS: Final[Mapping[str, Callable[[float], float]]] = {
    "abs": abs,
    "cos": math.cos,
    "exp": math.exp,
    "floor": lambda x: float(math.floor(x)),
    "log": math.log,
    "sin": math.sin,
    "sqrt": math.sqrt,
}

_CHOICES: Final[Mapping[str, Callable[..., float]]] = {"max": max, "min": min}

_FUNCTIONS: Final[Mapping[str, Callable[..., float]]] = {**_UNARY_FUNCTIONS, **_CHOICES}


@dataclass(frozen=True)
class Expression:
    """A function of one variable, as text.

    Attributes:
        text: as written.
        variable: the variable's name.
        what: the setting it was written in, for messages.
    """

    text: str
    variable: str
    what: str
    _tree: ast.expr = field(repr=False, compare=False)

    def __call__(self, at: float) -> float:
        """The value at `at` of the variable.

        Raises:
            UsageError: no finite real value there.
        """
        try:
            value = _value(self._tree, {**_CONSTANTS, self.variable: float(at)})
        except (ArithmeticError, ValueError) as reason:
            raise self._error(at, str(reason)) from None
        if not math.isfinite(value):
            raise self._error(at, f"it is {value}")
        return value

    def _error(self, at: float, reason: str) -> UsageError:
        return UsageError(f"{self.what}: {self.text!r} has no finite value at {self.variable} {at:g}: {reason}.")


def parse_expression(text: str, *, variable: str, what: str) -> Expression:
    """Parse `text` as a function of `variable`.

    Args:
        text: numbers, the variable, pi, + - * / // % **, parentheses, and the functions in this module's tables.
        variable: the name of the argument.
        what: the mention of the setting that the text was written in.

    Raises:
        UsageError: anything else in the text; names it and lists what is accepted.
    """
    if len(text) > LONGEST:
        raise UsageError(
            f"{what}: the expression has {len(text)} characters; at most {LONGEST} are accepted. Use FILE.py:NAME instead."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser warns of spellings such as `1if`, which are rejected below
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise UsageError(f"{what}: {text!r} can't be read as arithmetic. {_accepted_forms(variable)}") from None
    problem = _problem(tree, {*_CONSTANTS, variable})
    if problem:
        raise UsageError(f"{what}: {text!r} {problem} {_accepted_forms(variable)}")
    return Expression(text, variable, what, tree)


def _accepted_forms(variable: str) -> str:
    functions = " ".join(sorted(_FUNCTIONS))
    return f"Accepted: numbers, {variable}, {', '.join(_CONSTANTS)}, + - * / // % **, parentheses, {functions}."


def _problem(node: ast.expr, names: set[str]) -> str:
    """The part of `node` that is not arithmetic, in words; empty if all of it is."""
    match node:
        case ast.Constant(value=value):
            return "" if type(value) in (int, float) else f"has {value!r}, which is not a real number."
        case ast.Name(id=name):
            return "" if name in names else f"names {name!r}.{did_you_mean(name, names)}"
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _problem(operand, names)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _problem(left, names) or _problem(right, names)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call_problem(name, arguments, names)
    return f"has {ast.unparse(node)!r}, which is not arithmetic."


def _call_problem(name: str, arguments: list[ast.expr], names: set[str]) -> str:
    if name not in _FUNCTIONS:
        return f"calls {name!r}.{did_you_mean(name, _FUNCTIONS)}"
    if name in _UNARY_FUNCTIONS and len(arguments) != 1:
        return f"passes {len(arguments)} arguments to {name}, which takes one."
    if name in _CHOICES and len(arguments) < 2:
        return f"passes {len(arguments)} arguments to {name}, which takes two or more."
    return next(filter(None, (_problem(argument, names) for argument in arguments)), "")


def _value(node: ast.expr, at: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return at[name]
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, at))
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, at), _value(right, at))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name](*(_value(argument, at) for argument in arguments))
    raise AssertionError(f"{node!r} was not checked by parse_expression")
