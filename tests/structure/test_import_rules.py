"""The rules for single imports: each planted violation is found, its allowed counterpart is left alone."""

from __future__ import annotations

import pytest

from tests.structure.rules import wrong_imports
from tests.structure.synthetic import LAZY, tree


@pytest.mark.parametrize(
    ("path", "source", "said"),
    [
        ("core/spec.py", "from nnlab.catalog.losses import LOSSES", "core does not stand above catalog"),
        ("networks/models.py", "import nnlab.engine.plan", "networks does not stand above engine"),
        ("networks/models.py", "from nnlab.data.parts import Parts", "networks does not stand above data"),
        ("networks/models.py", "import nnlab.engine.plan as plan", "networks does not stand above engine"),
        ("engine/fit.py", "from nnlab.diagnostics import signals", "engine does not stand above diagnostics"),
        ("engine/fit.py", "from nnlab import cli", "engine does not stand above cli"),
        ("commands/train.py", "def f():\n    from nnlab.cli.app import app", "line 2: imports nnlab.cli.app"),
        ("commands/train.py", "from nnlab.api import run", "commands does not stand above api"),
        ("cli/app.py", "from nnlab.api import run", "cli does not stand above api"),
        ("api.py", "import nnlab.cli.app", "api does not stand above cli"),
        ("testing.py", "from nnlab.experiments.study import Study", "testing does not stand above experiments"),
        ("engine/plan.py", "if TYPE_CHECKING:\n    from nnlab.commands import train", "does not stand above commands"),
        ("engine/fit.py", "import nnlab.engine.plan\nnlab = nnlab.cli", "line 2: imports nnlab.cli"),
        ("engine/fit.py", "from nnlab.lab import running", "stands above every other module"),
        ("studies/fit.py", "import math", "studies has no level"),
    ],
)
def test_an_import_that_does_not_go_down_is_found(path, source, said):
    assert_finds(path, source, said)


@pytest.mark.parametrize(
    ("path", "source", "said"),
    [
        ("engine/fit.py", "from ..experiments import training", "engine does not stand above experiments"),
        ("engine/__init__.py", "from ..experiments import training", "engine does not stand above experiments"),
        ("engine/__init__.py", "from .. import experiments", "engine does not stand above experiments"),
        ("engine/kernels/__init__.py", "from ...cli import app", "engine does not stand above cli"),
        ("engine/kernels/linear.py", "from ...cli import app", "engine does not stand above cli"),
        ("testing.py", "from . import cli", "testing does not stand above cli"),
        ("testing.py", "from .cli import app", "testing does not stand above cli"),
        ("testing.py", "from . import run", "stands above every other module"),
        ("__init__.py", "from . import cli", "imports nnlab.cli, but the root package imports only what it offers"),
        ("__init__.py", "from .api import run", "imports nnlab.api.run, but the root package imports only"),
    ],
)
def test_a_relative_import_is_read_from_where_it_stands(path, source, said):
    assert_finds(path, source, said)


@pytest.mark.parametrize("path", ["core/spec.py", "commands/train.py", "cli/app.py", "__main__.py"])
@pytest.mark.parametrize(
    "source",
    [
        "from nnlab import run",
        "from nnlab import Results",
        "from nnlab import *",
        "import nnlab",
        "import nnlab as lab",
        "def f():\n    from nnlab import run",
        "import importlib\nimportlib.import_module('nnlab')",
    ],
)
def test_nothing_but_the_version_is_imported_from_the_root_package(path, source):
    assert_finds(path, source, "what the root package offers stands above every other module")


def test_what_the_root_package_offers_is_not_reached_through_a_submodule_either():
    assert_finds("core/spec.py", "import nnlab.core.kinds\nnnlab.run('train')", "imports nnlab.run")


@pytest.mark.parametrize(
    "source",
    [
        "from nnlab.core import spec",
        "def __getattr__(name):\n    from nnlab.engine.fit import fit",
        "from nnlab.api import run",
        "if TYPE_CHECKING:\n    from nnlab.core import spec",
    ],
)
def test_the_root_package_imports_only_what_it_offers_and_on_demand(source):
    assert_finds("__init__.py", source, "imports only what it offers, on demand")


# How a module can be imported by its name: {} stands for the name.
BY_NAME = [
    "import importlib\nimportlib.import_module('{}')",
    "from importlib import import_module\nimport_module('{}')",
    "from importlib import import_module as im\nim(name='{}')",
    "from importlib import *\nimport_module('{}')",
    "import importlib as i\ndef f():\n    return i.import_module('{}')",
    "__import__('{}')",
    "import builtins\nbuiltins.__import__('{}')",
    "import importlib\nimportlib.__import__('{}')",
    LAZY + "x = lazy('{}')",
    LAZY + "x = lazy(name='{}')",
    LAZY + "x, y = lazy('math'), lazy('{}')",
    LAZY + "x = dict(x=[lazy('{}')])",
    "from nnlab.core.lazy import lazy as later\nx = later('{}')",
    "from nnlab.core.lazy import *\nx = lazy('{}')",
    "import nnlab.core.lazy\nx = nnlab.core.lazy.lazy('{}')",
    "import nnlab.core.lazy as l\nx = l.lazy('{}')",
    "from nnlab.core import lazy\nx = lazy.lazy('{}')",
    "from nnlab.core import lazy as l\nx = l.lazy(name='{}')",
    "from ..core.lazy import lazy\nx = lazy('{}')",
]


@pytest.mark.parametrize("by_name", BY_NAME)
@pytest.mark.parametrize(
    ("path", "name", "said"),
    [
        ("settings/base.py", "nnlab.engine.fit", "settings does not stand above engine"),
        ("storage/journal.py", "torch", "storage doesn't name torch"),
        ("report/sheets.py", "safetensors.torch", "report doesn't name torch"),
        ("experiments/study.py", "rich.table", "Typer and Rich appear only in cli and report"),
        ("cli/app.py", "click", "click is an internal matter of Typer"),
    ],
)
def test_an_import_by_name_is_found_in_every_spelling(by_name, path, name, said):
    assert_finds(path, by_name.format(name), said)


@pytest.mark.parametrize("name", [".cli.app", "..cli.app"])
def test_a_relative_import_by_name_is_found(name):
    source = f"from importlib import import_module\nimport_module({name!r}, package=__package__)"
    assert_finds("testing.py" if name[1] != "." else "engine/fit.py", source, "does not stand above cli")


@pytest.mark.parametrize(
    "source",
    [
        LAZY + "later = lazy\ntorch = later('torch')",
        LAZY + "modules = map(lazy, ['torch'])",
        LAZY + "torch = lazy('to' + 'rch')",
        LAZY + "torch = lazy(f'{x}')",
        "import importlib\nload = importlib.import_module",
        "load = __import__",
        "from functools import partial\nfrom importlib import import_module\nf = partial(import_module, 'torch')",
    ],
)
def test_a_module_is_not_imported_by_a_name_that_can_not_be_read(source):
    assert_finds("storage/journal.py", source, "by a literal name, in the call itself")


@pytest.mark.parametrize("package", ["core", "settings", "storage", "analysis", "report", "commands", "cli"])
@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "import torch.nn as nn",
        "from torch.nn import functional",
        "from safetensors.torch import save_file",
        "from safetensors import torch",
        "import safetensors.torch",
        "def f():\n    import torch",
        "if TYPE_CHECKING:\n    from torch import Tensor",
        "class A:\n    import torch",
        "try:\n    import torch\nexcept ImportError:\n    pass",
        "__import__('torch')",
        LAZY + "F = lazy(name='torch.nn.functional')",
    ],
)
def test_torch_is_not_named_where_it_is_not_used(package, source):
    assert_finds(f"{package}/anything.py", source, f"{package} doesn't name torch")


@pytest.mark.parametrize("path", ["api.py", "__main__.py", "__init__.py"])
def test_torch_is_not_named_above_the_packages_either(path):
    assert_finds(path, "def f():\n    import torch", "doesn't name torch")


@pytest.mark.parametrize(
    "source", ["import typer", "from rich import box", "import rich.table as t", "def f():\n    from typer import echo"]
)
@pytest.mark.parametrize("path", ["core/errors.py", "engine/fit.py", "commands/train.py", "api.py", "__init__.py"])
def test_the_terminal_appears_only_in_cli_and_report(source, path):
    assert_finds(path, source, "Typer and Rich appear only in cli and report")


@pytest.mark.parametrize("source", ["import click", "from click.testing import CliRunner", "import click as c"])
@pytest.mark.parametrize("path", ["cli/app.py", "report/sheets.py", "engine/fit.py"])
def test_click_appears_nowhere(source, path):
    assert_finds(path, source, "click is an internal matter of Typer")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/rng.py", LAZY + "torch = lazy('torch')"),
        ("core/lazy.py", "from importlib import import_module\nimport_module(name)"),
        ("catalog/custom.py", "import importlib\nimportlib.import_module(name)"),
        ("catalog/losses.py", "if TYPE_CHECKING:\n    import torch\nelse:\n    " + LAZY + "    torch = lazy('torch')"),
        ("core/spec.py", "from nnlab import __version__"),
        ("core/spec.py", "from .kinds import Kind"),
        ("core/spec.py", "from . import kinds"),
        ("core/spec.py", "lazy = True\nimport_module = lazy"),
        ("core/__init__.py", "from . import spec"),
        ("core/__init__.py", "from .spec import Spec"),
        ("engine/kernels/__init__.py", "from ..plan import Tile\nfrom ... import core\nfrom ...core import spec"),
        ("engine/kernels/linear.py", "from ..plan import Tile\nfrom ... import core\nfrom ...core import spec"),
        ("engine/fit.py", "import nnlab.core.spec\nnnlab.core.spec.Spec"),
        ("testing.py", "from nnlab.diagnostics.gradcheck.checking import check"),
        ("testing.py", "from . import core\nfrom .core import spec"),
        ("cli/app.py", "import typer"),
        ("report/arms.py", "from rich.table import Table"),
        ("storage/model_files.py", LAZY + "numpy = lazy('safetensors.numpy')"),
        ("diagnostics/gradcheck/checking.py", "import torch"),
        ("experiments/carry_out.py", "def f():\n    from nnlab.engine.fit import fit"),
        ("api.py", "from nnlab.commands import train"),
        ("__main__.py", "from nnlab.cli.app import program"),
        ("__init__.py", "def __getattr__(name):\n    from nnlab.api import run"),
        ("__init__.py", "if TYPE_CHECKING:\n    from nnlab.experiments.results import Results"),
        ("__init__.py", "def __getattr__(name):\n    from .experiments.results import Results"),
    ],
)
def test_what_is_allowed_is_left_alone(path, source):
    assert wrong_imports(tree({path: source})) == []


def assert_finds(path, source, said):
    sentences = wrong_imports(tree({path: source}))
    assert len(sentences) == 1 or all(said in sentence for sentence in sentences)
    assert said in sentences[0]
