"""The imports in a module's source: every spelling, and when each of them happens."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import PurePosixPath
from typing import Final

# The functions that import a module by its name.
LAZY: Final = "nnlab.core.lazy.lazy"
LOADERS: Final = frozenset(
    {LAZY, "importlib.import_module", "importlib.__import__", "builtins.__import__", "__import__"}
)
UNREADABLE: Final = "a module whose name is computed"


class When(Enum):
    """When an import happens."""

    LOADING = "while the importing module is loaded"
    CALLED = "when a function is called, or a lazy module used"
    TYPES = "never: only a type checker reads it"


@dataclass(frozen=True)
class Import:
    """An import in line `line` of module `by`.

    `of` is the dotted name of a module, or of something in a module: `from nnlab.core.spec import Spec` imports
    `nnlab.core.spec.Spec`.
    """

    by: str
    of: str
    line: int
    when: When


def module_name(path: str) -> str:
    """`nnlab.engine.fit` for nnlab/engine/fit.py, `nnlab.engine` for nnlab/engine/__init__.py."""
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: str, source: str) -> tuple[Import, ...]:
    """Every import in the source of the module at `path`, in the order of its lines."""
    module = ast.parse(source)
    package = module_name(path) if path.endswith("__init__.py") else module_name(path).rpartition(".")[0]
    reader = _Reader(module_name(path), package, _bindings(module, package))
    return tuple(sorted(reader.within(module, When.LOADING), key=lambda each: each.line))


def _bindings(module: ast.Module, package: str) -> dict[str, set[str]]:
    """Name in the module -> the dotted names that its imports bind to it, wherever in the module they stand."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, dotted in _bound(node, package):
                found.setdefault(name, set()).add(dotted)
    return found


def _bound(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, str]]:
    for alias in node.names:
        if isinstance(node, ast.Import):
            root = alias.name.partition(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (root, root)
        elif alias.name == "*":
            origin = _origin(node, package)
            yield from ((name.rpartition(".")[2], name) for name in LOADERS if name.rpartition(".")[0] == origin)
        else:
            yield alias.asname or alias.name, f"{_origin(node, package)}.{alias.name}"


def _origin(node: ast.ImportFrom, package: str) -> str:
    """The module in which `from ... import` looks: one dot is the package itself, each further dot one package up."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = parts[: len(parts) - (node.level - 1)]
    return ".".join([*above, *([node.module] if node.module else [])])


@dataclass(frozen=True)
class _Reader:
    module: str
    package: str
    bindings: Mapping[str, set[str]]

    def within(self, node: ast.AST, when: When) -> Iterator[Import]:
        """The imports in a node, which runs at the time `when`."""
        match node:
            case ast.Import() | ast.ImportFrom():
                yield from (Import(self.module, name, node.lineno, when) for name in self._imported(node))
            case ast.Call() if self._resolved(node.func) & LOADERS:
                loaded = When.CALLED if when is When.LOADING and LAZY in self._resolved(node.func) else when
                yield Import(self.module, self._literal(node), node.lineno, loaded)
                for argument in (*node.args, *node.keywords):
                    yield from self.within(argument, when)
            case ast.Name() | ast.Attribute() if self._resolved(node) & LOADERS:
                yield Import(self.module, UNREADABLE, node.lineno, when)
            case ast.Attribute() if any(name.startswith("nnlab.") for name in self._through_root(node)):
                yield from (Import(self.module, name, node.lineno, when) for name in self._through_root(node))
            case ast.If() if _is_type_checking(node.test):
                yield from self._each(node.body, When.TYPES)
                yield from self._each(node.orelse, when)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from self._function(node, when)
            case _:
                yield from self._each(ast.iter_child_nodes(node), when)

    def _each(self, nodes: Iterator[ast.AST] | list[ast.stmt], when: When) -> Iterator[Import]:
        for node in nodes:
            yield from self.within(node, when)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, when: When) -> Iterator[Import]:
        """Decorators and default values are computed where the function is defined, its body where it is called."""
        now = [*getattr(node, "decorator_list", []), *node.args.defaults, *filter(None, node.args.kw_defaults)]
        later = node.body if isinstance(node.body, list) else [node.body]
        yield from self._each(iter(now), when)
        yield from self._each(iter(later), When.CALLED if when is When.LOADING else when)

    def _imported(self, node: ast.Import | ast.ImportFrom) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        origin = _origin(node, self.package)
        return [origin if alias.name == "*" else f"{origin}.{alias.name}" for alias in node.names]

    def _resolved(self, node: ast.AST) -> set[str]:
        """The dotted names that an expression like `importlib.import_module` may stand for."""
        if isinstance(node, ast.Name):
            return self.bindings.get(node.id, {node.id})
        if isinstance(node, ast.Attribute):
            return {f"{name}.{node.attr}" for name in self._resolved(node.value)}
        return set()

    def _through_root(self, node: ast.Attribute) -> set[str]:
        """`nnlab.run` where the root package is bound to a name, and so all that it offers can be reached."""
        base: ast.AST = node
        while isinstance(base, ast.Attribute):
            base = base.value
        roots = self.bindings.get(base.id, set()) if isinstance(base, ast.Name) else set()
        return self._resolved(node) if "nnlab" in roots else set()

    def _literal(self, call: ast.Call) -> str:
        """The name of the module that a call imports; a relative one is completed."""
        words = [*call.args, *(word.value for word in call.keywords if word.arg == "name")]
        name = words[0].value if words and isinstance(words[0], ast.Constant) else None
        if not isinstance(name, str):
            return UNREADABLE
        if not name.startswith("."):
            return name
        level = len(name) - len(name.lstrip("."))
        return _origin(ast.ImportFrom(name.lstrip(".") or None, [], level), self.package)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test).rpartition(".")[2] == "TYPE_CHECKING"
