"""The shape of the program: imports go strictly down, torch and the terminal stay where they belong, start-up is light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

import nnlab

ROOT: Final = Path(nnlab.__file__).parent

# Who may import whom: a package those below it, never its equals (design.md, section 2).
LEVELS: Final[Mapping[str, int]] = {
    "core": 0,
    "catalog": 1,
    "engine": 2,
    "diagnostics": 2,
    "analysis": 2,
    "studies": 3,
    "report": 3,
    "storage": 3,
    "testing": 3,
    "lab": 4,
    "cli": 5,
    "__main__": 6,
}
WITHOUT_TORCH: Final = frozenset({"cli", "lab", "storage", "report", "analysis", "core"})
MAY_LOAD_TORCH: Final = frozenset({"nnlab.core.rng"})  # lazily: a stream is a torch.Generator
TERMINAL: Final = frozenset({"typer", "rich", "click"})
WITH_TERMINAL: Final = frozenset({"cli", "report"})


@dataclass(frozen=True)
class Import:
    """Module `by` asks for module `of`, in line `line`."""

    by: str
    of: str
    line: int


def imports(module: str, source: str) -> Iterator[Import]:
    """Every module that `source` names, at its top or within a function, eagerly or by `lazy(...)`."""
    package = module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            origin = ".".join(part for part in (above, node.module) if part)
            yield Import(module, origin, node.lineno)
            # `from nnlab import catalog` names a package in its second half.
            if origin == "nnlab":
                yield from (Import(module, f"nnlab.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("lazy", "import_module"):
            names = [word.value for word in node.args if isinstance(word, ast.Constant)]
            yield from (Import(module, str(name), node.lineno) for name in names)


def package_of(module: str) -> str:
    """`catalog` of `nnlab.catalog.losses`; empty for nnlab itself and for what is not ours."""
    parts = module.split(".")
    return parts[1] if parts[0] == "nnlab" and len(parts) > 1 else ""


def violations(modules: Mapping[str, str]) -> list[str]:
    """What is wrong with the imports of these modules (name -> source), one sentence each."""
    found = []
    for module, source in modules.items():
        for each in imports(module, source):
            wrong = _wrong(each)
            if wrong:
                found.append(f"{module}, line {each.line}: imports {each.of}, but {wrong}")
    return found


def _wrong(each: Import) -> str:
    by, of, top = package_of(each.by), package_of(each.of), each.of.partition(".")[0]
    if by and of in LEVELS and of != by and LEVELS[of] >= LEVELS[by]:
        return f"{by} stands not above {of}"
    if not by and of not in ("", "lab"):
        return "nnlab/__init__.py has nothing of its own but what lab offers, when it is asked for"
    if top == "torch" and by in WITHOUT_TORCH and each.by not in MAY_LOAD_TORCH:
        return f"{by} does without torch"
    if top in TERMINAL and by not in WITH_TERMINAL:
        return "Typer and Rich appear only in cli and report"
    if top == "click":
        return "click is Typer's own affair"
    return ""


def tree() -> dict[str, str]:
    """The modules of the program and their source."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("nnlab", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def test_imports_go_strictly_down_and_torch_and_the_terminal_stay_in_their_places():
    assert not violations(tree())


def test_every_package_has_its_level():
    packages = {package_of(module) for module in tree()} - {""}
    assert packages <= set(LEVELS), "say in LEVELS where the new one stands"


def test_the_tree_is_really_walked():
    seen = {(package_of(each.by), package_of(each.of)) for name, text in tree().items() for each in imports(name, text)}
    assert {("cli", "core"), ("engine", "catalog"), ("catalog", "core")} <= seen
    assert len(tree()) > 50


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("nnlab.core.spec", "from nnlab.catalog.losses import LOSSES", "core stands not above catalog"),
        ("nnlab.networks.models", "import nnlab.engine.plan", "catalog stands not above engine"),
        ("nnlab.engine.fit", "from nnlab.diagnostics import signals", "engine stands not above diagnostics"),
        ("nnlab.commands.train", "def f():\n    from nnlab.cli.app import app", "line 2: imports nnlab.cli.app"),
        ("nnlab.engine.fit", "from ..studies import train", "engine stands not above studies"),
        ("nnlab.engine.fit", "from nnlab import cli", "engine stands not above cli"),
        ("nnlab.storage.journal", "import torch.nn as nn", "storage does without torch"),
        ("nnlab.core.kinds", "torch = lazy('torch')", "core does without torch"),
        ("nnlab.analysis.ties", "if TYPE_CHECKING:\n    from torch import Tensor", "analysis does without torch"),
        ("nnlab.engine.fit", "import rich.progress", "only in cli and report"),
        ("nnlab.commands.train", "from typer import echo", "only in cli and report"),
        ("nnlab.cli.app", "import click", "click is Typer's own affair"),
        ("nnlab.experiments.carry_out", "from nnlab.cli.output import note", "lab stands not above cli"),
        ("nnlab.commands.train", "from nnlab.api import run", "studies stands not above lab"),
        ("nnlab.experiments.carry_out", "import torch", "lab does without torch"),
        ("nnlab", "from nnlab.core import spec", "nothing of its own but what lab offers"),
    ],
)
def test_an_import_that_goes_wrong_is_named(module, source, said):
    (sentence,) = violations({module: source})
    assert sentence.startswith(module)
    assert said in sentence


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nnlab.core.rng", "torch = lazy('torch')"),
        ("nnlab.testing", "from nnlab.diagnostics.gradcheck.checking import check"),
        ("nnlab.engine.fit", "from .plan import Tile"),
        ("nnlab.cli.app", "import typer"),
        ("nnlab.report.arms", "from rich.table import Table"),
        ("nnlab.diagnostics.gradcheck.checking", "import torch"),
        ("nnlab.experiments.carry_out", "from nnlab.commands.train import TRAIN"),
        ("nnlab", "from nnlab.api import run"),
    ],
)
def test_an_import_that_goes_down_is_let_be(module, source):
    assert violations({module: source}) == []


HEAVY: Final = frozenset({"torch", "pandas", "scipy", "sklearn", "matplotlib"})
# Tells at the end, in the file of its first argument, what was loaded; the others are the command's.
RUN_AND_TELL: Final = """
import atexit, pathlib, sys

place = pathlib.Path(sys.argv.pop(1))
atexit.register(lambda: place.write_text("\\n".join(sys.modules)))
sys.argv[0] = "nnlab"
from nnlab.cli.app import main

main()
"""


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (["--help"], 0, "sweep-lr"),
        (["sweep-lr", "-h"], 0, "--batch-size"),
        (["--version"], 0, nnlab.__version__),
        (["sweep-lr", "--epoch", "3"], 2, "--epochs"),
        (["swep-lr"], 2, "sweep-lr"),
        (["sweep-lr", "--lr", "0,1"], 2, "--lr"),
        (["sweep-lr", "--seeds", "-3"], 2, "--seeds"),
        (["sweep-lr", "--init", "kaiming_nromal"], 2, "Did you mean 'kaiming_normal'?"),
        (["train", "--optimizer", "sgd:momentun=0.9"], 2, "Did you mean 'momentum'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help_and_errors_of_usage_come_without_the_heavy_libraries(words, exit_code, said, tmp_path):
    done, loaded = run_and_tell(words, tmp_path)
    assert done.returncode == exit_code, done.stderr
    assert said in (done.stderr if exit_code else done.stdout)
    assert "Traceback" not in done.stderr
    assert HEAVY & loaded == set()


@pytest.mark.parametrize("kind", ["losses", "inits", "optimizers", "schedules"])
def test_what_there_is_to_choose_from_is_listed_without_torch(kind, tmp_path):
    done, loaded = run_and_tell(["list", kind], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "torch" not in loaded


def test_completion_comes_without_the_heavy_libraries(tmp_path):
    line = {"_NNLAB_COMPLETE": "complete_bash", "COMP_WORDS": "nnlab sweep-lr --init kaiming_n", "COMP_CWORD": "3"}
    done, loaded = run_and_tell([], tmp_path, environment=line)
    assert "kaiming_normal" in done.stdout.split()
    assert HEAVY & loaded == set()


def run_and_tell(
    words: list[str], place: Path, *, environment: Mapping[str, str] | None = None
) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """The command in a process of its own, and the modules that it loaded."""
    loaded = place / "loaded"
    script = [sys.executable, "-c", RUN_AND_TELL, str(loaded), *words]
    given = {**os.environ, **(environment or {})}
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, cwd=place, env=given, check=False)
    return done, set(loaded.read_text().splitlines())
