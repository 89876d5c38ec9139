"""The tree keeps the rules of its structure."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

import nnlab
from tests.structure.imports import Import, imports, module_name
from tests.structure.rules import (
    EXCEPTIONS,
    PACKAGES,
    Torch,
    circles,
    names_used_twice,
    package_of,
    torch_while_loading,
    use_of_torch,
    wrong_imports,
)

ROOT: Final = Path(nnlab.__file__).parent
# Loads the modules named, one after the other, until torch is loaded too; prints the one that loaded it.
LOAD: Final = """
import importlib, sys

for name in sys.argv[1:]:
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.exit(name)
"""


@cache
def tree() -> dict[str, str]:
    """The program: the path of each module, from nnlab/ on, and its source."""
    paths = sorted(ROOT.rglob("*.py"))
    return {path.relative_to(ROOT.parent).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def every_import() -> list[Import]:
    return [each for path, source in tree().items() for each in imports(path, source)]


def test_imports_go_strictly_down_and_torch_and_the_terminal_stay_in_their_places():
    assert_none(wrong_imports(tree()))


def test_no_chain_of_imports_leads_to_torch_where_it_is_only_used_on_demand():
    assert_none(torch_while_loading(tree()))


def test_what_should_load_without_torch_does():
    names = [name for name in map(module_name, tree()) if use_of_torch(name) is not Torch.COMPUTES]
    names.remove("nnlab.__main__")  # it runs the program
    done = subprocess.run([sys.executable, "-c", LOAD, *names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_module_imports_itself_by_way_of_others():
    assert_none(circles(tree()))


def test_no_name_stands_for_two_modules_or_two_classes():
    assert_none(names_used_twice(tree()))


def test_every_package_has_its_level():
    assert {package_of(module_name(path)) for path in tree()} - {""} == set(PACKAGES)


def test_an_exception_is_a_module_that_needs_it():
    torch = {each.by for each in every_import() if each.of.partition(".")[0] == "torch"}
    assert set(EXCEPTIONS) <= torch


def test_the_tree_is_really_walked():
    seen = {(package_of(each.by), package_of(each.of)) for each in every_import()}
    assert {("cli", "core"), ("engine", "catalog"), ("catalog", "core")} <= seen
    assert len(tree()) > 50


def assert_none(sentences: list[str]) -> None:
    assert not sentences, "\n".join(sentences)
