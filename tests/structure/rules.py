"""The rules of the structure, each a function: modules (path -> source) to the sentences that say what breaks it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Final

from tests.structure.imports import UNREADABLE, Import, When, imports, module_name

Modules = Mapping[str, str]


class Torch(Enum):
    """The use of torch that a package is allowed."""

    NEVER = "doesn't name torch, not even lazily"
    LAZY = "is loaded without torch, which only its functions use"
    COMPUTES = "computes with torch"


@dataclass(frozen=True)
class Package:
    """A package imports only packages of a lower level."""

    level: int
    torch: Torch


PACKAGES: Final[Mapping[str, Package]] = {
    "core": Package(0, Torch.NEVER),
    "settings": Package(1, Torch.NEVER),
    "catalog": Package(2, Torch.LAZY),
    "data": Package(3, Torch.LAZY),
    "networks": Package(3, Torch.LAZY),
    "analysis": Package(3, Torch.NEVER),
    "ingredients": Package(4, Torch.LAZY),
    "storage": Package(4, Torch.NEVER),
    "engine": Package(5, Torch.COMPUTES),
    "report": Package(5, Torch.NEVER),
    "diagnostics": Package(6, Torch.COMPUTES),
    "testing": Package(7, Torch.COMPUTES),
    "experiments": Package(7, Torch.LAZY),
    "commands": Package(8, Torch.NEVER),
    "api": Package(9, Torch.NEVER),
    "cli": Package(9, Torch.NEVER),
    "__main__": Package(10, Torch.NEVER),
}
# Modules that use torch in another way than their package.
EXCEPTIONS: Final[Mapping[str, Torch]] = {
    "nnlab.core.rng": Torch.LAZY,  # a random stream is a torch.Generator
    "nnlab.networks.activation_module": Torch.COMPUTES,  # likewise
    "nnlab.networks.encoder": Torch.COMPUTES,  # a torch.nn.Module, which a class statement can't put off
    "nnlab.experiments.trained": Torch.COMPUTES,
    "nnlab.experiments.training": Torch.COMPUTES,
}
# The root package is for users: it offers these, and loads them when they are asked for.
OFFERED: Final = ("nnlab.api", "nnlab.experiments.results")
ITS_OWN: Final = "nnlab.__version__"
# These import what a user names.
LOAD_BY_A_COMPUTED_NAME: Final = frozenset({"nnlab.core.lazy", "nnlab.catalog.custom"})
TORCH: Final = ("torch", "functorch", "torchvision", "safetensors.torch")
WITH_TERMINAL: Final = frozenset({"cli", "report"})


def wrong_imports(modules: Modules) -> list[str]:
    """Imports that go up, that name torch or the terminal where they don't belong, or that can't be read."""
    every = (each for path, source in modules.items() for each in imports(path, source))
    return [f"{each.by}, line {each.line}: imports {each.of}, but {wrong}" for each in every if (wrong := _wrong(each))]


def _wrong(each: Import) -> str:
    return _wrong_direction(each) or _wrong_library(each)


def _wrong_direction(each: Import) -> str:
    by, of, ours = package_of(each.by), package_of(each.of), _is_within(each.of, ["nnlab"])
    if each.of == UNREADABLE and each.by not in LOAD_BY_A_COMPUTED_NAME:
        return "a module is imported by a literal name, in the call itself"
    if each.by == "nnlab":
        on_demand = _is_within(each.of, OFFERED) and each.when is not When.LOADING
        return "the root package imports only what it offers, on demand" if ours and not on_demand else ""
    if by not in PACKAGES:
        return f"{by} has no level: give it one in PACKAGES"
    if ours and of not in PACKAGES and each.of != ITS_OWN:
        return "what the root package offers stands above every other module"
    if of in PACKAGES and of != by and PACKAGES[of].level >= PACKAGES[by].level:
        return f"{by} does not stand above {of}"
    return ""


def _wrong_library(each: Import) -> str:
    by = package_of(each.by)
    if _is_within(each.of, ["click"]):
        return "click is an internal matter of Typer"
    if _is_within(each.of, ["typer", "rich"]) and by not in WITH_TERMINAL:
        return "Typer and Rich appear only in cli and report"
    if _is_within(each.of, TORCH) and use_of_torch(each.by) is Torch.NEVER:
        return f"{by or 'the root package'} {Torch.NEVER.value}"
    return ""


def torch_while_loading(modules: Modules) -> list[str]:
    """Modules that must load without torch and don't: each with the chain of imports from it to torch."""
    loaded = _loaded_with(modules)
    free = sorted(name for name in loaded if use_of_torch(name) is not Torch.COMPUTES)
    chains = [chain for name in free if (chain := _chain_to_torch(name, loaded))]
    return [f"{chain[0]} loads torch: {' -> '.join(chain)}" for chain in chains]


def _loaded_with(modules: Modules) -> dict[str, list[str]]:
    """Module -> the modules that loading it loads: those of its imports, their packages, and its own packages."""
    names = {module_name(path) for path in modules}
    found: dict[str, list[str]] = {}
    for path, source in modules.items():
        name = module_name(path)
        now = [each.of for each in imports(path, source) if each.when is When.LOADING]
        ours = [above for of in (name, *now) for above in _and_packages(_defined_in(of, names))]
        torch = ["torch"] if any(_is_within(of, TORCH) for of in now) else []
        found[name] = [*torch, *(each for each in dict.fromkeys(ours) if each != name and each in names)]
    return found


def _chain_to_torch(start: str, loaded: Mapping[str, Iterable[str]]) -> list[str]:
    """The shortest chain from a module to torch; empty if there is none."""
    chains = [[start]]
    seen = {start}
    for chain in chains:
        for following in loaded.get(chain[-1], ()):
            if following == "torch":
                return [*chain, following]
            if following not in seen:
                seen.add(following)
                chains.append([*chain, following])
    return []


def circles(modules: Modules) -> list[str]:
    """Modules of a package that import each other, in whatever way: also in a function, also for the type checker."""
    edges = _edges(modules)
    around = {name: _reachable(name, edges) for name in edges}
    groups = {frozenset(other for other in around[name] if name in around[other]) for name in edges}
    return [f"a circle: {', '.join(sorted(group))}" for group in sorted(groups, key=sorted) if group]


def _edges(modules: Modules) -> dict[str, set[str]]:
    """Module -> the modules of its package that it imports. Importing a module imports the packages it is in."""
    names = {module_name(path) for path in modules}
    found: dict[str, set[str]] = {name: set() for name in names}
    for path, source in modules.items():
        for each in imports(path, source):
            of = _defined_in(each.of, names)
            # The packages that a module is in are being loaded before it: it doesn't import them by importing a sibling.
            asked = set(_and_packages(of)) - set(_and_packages(each.by)) | {of}
            same = {name for name in asked if package_of(name) == package_of(each.by) != ""}
            found[each.by] |= (same & names) - {each.by}
    return found


def _reachable(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = set(edges[start])
    while waiting:
        reached |= waiting
        waiting = {name for each in waiting for name in edges[each]} - reached
    return reached


def names_used_twice(modules: Modules) -> list[str]:
    """Names that two folders give to a module, or two places to a public class."""
    stems, classes = defaultdict(list), defaultdict(list)
    for path, source in modules.items():
        stem = PurePosixPath(path).stem
        if stem != "__init__":
            stems[stem].append(path)
        for name, line in _public_classes(source):
            classes[name].append(f"{path}:{line}")
    return [
        f"two {kind} are called {name}: {', '.join(places)}"
        for kind, found in (("modules", stems), ("classes", classes))
        for name, places in sorted(found.items())
        if len(places) > 1
    ]


def _public_classes(source: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node.lineno


def package_of(name: str) -> str:
    """`catalog` for nnlab.catalog.losses; empty for the root package and for other people's modules."""
    parts = name.split(".")
    return parts[1] if parts[0] == "nnlab" and len(parts) > 1 else ""


def use_of_torch(module: str) -> Torch:
    """The use of torch that a module of nnlab is allowed."""
    if module == "nnlab":
        return Torch.NEVER
    return EXCEPTIONS.get(module) or PACKAGES[package_of(module)].torch


def _is_within(name: str, modules: Iterable[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _defined_in(name: str, modules: Iterable[str]) -> str:
    """The module that a dotted name is, or is defined in; empty for other people's."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def _and_packages(module: str) -> list[str]:
    """A module and the packages it is in, outermost first."""
    parts = module.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))] if module else []
