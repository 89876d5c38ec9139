"""The rules for the whole tree: chains of imports to torch, circles, names for two things."""

from __future__ import annotations

import pytest

from tests.structure.rules import circles, names_used_twice, torch_while_loading
from tests.structure.synthetic import LAZY, tree

FIT = {"engine/fit.py": "import torch", "engine/__init__.py": ""}


@pytest.mark.parametrize(
    ("modules", "chain"),
    [
        ({"data/parts.py": "import torch"}, "data.parts -> torch"),
        ({"data/parts.py": "from torch.nn import functional"}, "data.parts -> torch"),
        ({"data/parts.py": "from safetensors.torch import load"}, "data.parts -> torch"),
        ({"data/parts.py": "__import__('torch')"}, "data.parts -> torch"),
        ({"data/parts.py": "def f(x=__import__('torch')):\n    pass"}, "data.parts -> torch"),
        ({"data/parts.py": "class A:\n    import torch"}, "data.parts -> torch"),
        ({"data/parts.py": "if True:\n    import torch"}, "data.parts -> torch"),
        ({"data/parts.py": "if not TYPE_CHECKING:\n    import torch"}, "data.parts -> torch"),
        (
            FIT | {"commands/train.py": "from nnlab.engine.fit import fit"},
            "commands.train -> nnlab.engine.fit -> torch",
        ),
        (FIT | {"commands/train.py": "from nnlab.engine import fit"}, "commands.train -> nnlab.engine.fit -> torch"),
        (FIT | {"commands/train.py": "import nnlab.engine.fit as f"}, "commands.train -> nnlab.engine.fit -> torch"),
        (FIT | {"commands/train.py": "from ..engine import fit"}, "commands.train -> nnlab.engine.fit -> torch"),
        (FIT | {"commands/__init__.py": "from ..engine import fit"}, "commands -> nnlab.engine.fit -> torch"),
        (
            {"cli/app.py": "import nnlab.engine.seeds", "engine/seeds.py": "", "engine/__init__.py": "import torch"},
            "cli.app -> nnlab.engine -> torch",
        ),
        (
            {"storage/journal.py": "", "storage/__init__.py": "import torch"},
            "storage.journal -> nnlab.storage -> torch",
        ),
        (
            {
                "cli/app.py": "from nnlab.commands.train import TRAIN",
                "commands/train.py": "from nnlab.experiments.training import train",
                "experiments/training.py": "import torch",
            },
            "cli.app -> nnlab.commands.train -> nnlab.experiments.training -> torch",
        ),
    ],
)
def test_torch_is_found_at_the_end_of_a_chain(modules, chain):
    start = f"nnlab.{chain.partition(' ')[0]}"
    assert f"{start} loads torch: nnlab.{chain}" in torch_while_loading(tree(modules))


@pytest.mark.parametrize(
    "modules",
    [
        FIT,
        FIT | {"commands/train.py": "def f():\n    from nnlab.engine.fit import fit"},
        FIT | {"commands/train.py": "f = lambda: __import__('nnlab.engine.fit')"},
        FIT | {"commands/train.py": "if TYPE_CHECKING:\n    from nnlab.engine.fit import fit"},
        FIT | {"commands/train.py": LAZY + "fit = lazy('nnlab.engine.fit')"},
        FIT | {"commands/train.py": "import nnlab.engine"},
        FIT | {"commands/train.py": "from nnlab.engine import rows", "engine/rows.py": ""},
        {"networks/encoder.py": "import torch", "networks/models.py": "def f():\n    from .encoder import Block"},
        {"core/rng.py": LAZY + "torch = lazy('torch')", "core/spec.py": "from .rng import stream"},
        {"storage/model_files.py": "import safetensors.numpy"},
    ],
)
def test_what_loads_without_torch_is_left_alone(modules):
    assert torch_while_loading(tree(modules)) == []


@pytest.mark.parametrize(
    ("modules", "circle"),
    [
        ({"engine/a.py": "import nnlab.engine.b", "engine/b.py": "import nnlab.engine.a"}, "engine.a, nnlab.engine.b"),
        ({"engine/a.py": "from . import b", "engine/b.py": "from .a import x"}, "engine.a, nnlab.engine.b"),
        (
            {"engine/a.py": "from . import b", "engine/b.py": "def f():\n    from . import a"},
            "engine.a, nnlab.engine.b",
        ),
        (
            {"engine/a.py": "from . import b", "engine/b.py": "if TYPE_CHECKING:\n    from .a import A"},
            "engine.a, nnlab.engine.b",
        ),
        (
            {"engine/a.py": "from .b import x", "engine/b.py": LAZY + "a = lazy('nnlab.engine.a')"},
            "engine.a, nnlab.engine.b",
        ),
        (
            {"engine/a.py": "from . import b", "engine/b.py": "from . import c", "engine/c.py": "from . import a"},
            "engine.a, nnlab.engine.b, nnlab.engine.c",
        ),
        (
            {"engine/__init__.py": "from nnlab.engine.a import x", "engine/a.py": "from nnlab.engine import x"},
            "engine, nnlab.engine.a",
        ),
        (
            {
                "engine/kernels/__init__.py": "from nnlab.engine.fit import fit",
                "engine/kernels/linear.py": "",
                "engine/fit.py": "import nnlab.engine.kernels.linear",
            },
            "engine.fit, nnlab.engine.kernels",
        ),
    ],
)
def test_a_circle_within_a_package_is_found(modules, circle):
    assert circles(tree(modules)) == [f"a circle: nnlab.{circle}"]


@pytest.mark.parametrize(
    "modules",
    [
        {"engine/a.py": "from . import b, c", "engine/b.py": "from . import c", "engine/c.py": ""},
        {"engine/__init__.py": "from . import a", "engine/a.py": "from . import b", "engine/b.py": ""},
        {"engine/__init__.py": "from .b import x", "engine/a.py": "import nnlab.engine.b", "engine/b.py": ""},
        {"engine/a.py": "from nnlab import __version__", "__init__.py": "def f():\n    from nnlab.engine import a"},
    ],
)
def test_modules_without_a_circle_are_left_alone(modules):
    assert circles(tree(modules)) == []


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        (
            {"cli/doctor.py": "", "report/doctor.py": ""},
            "two modules are called doctor: nnlab/cli/doctor.py, nnlab/rep",
        ),
        ({"engine/table.py": "", "engine/kernels/table.py": ""}, "two modules are called table"),
        ({"api.py": "", "cli/api.py": ""}, "two modules are called api"),
        (
            {"cli/a.py": "class Row: ...", "report/b.py": "x = 1\nclass Row: ..."},
            "called Row: nnlab/cli/a.py:1, nnlab/rep",
        ),
        ({"cli/a.py": "class Row: ...\nclass Row: ..."}, "two classes are called Row"),
        ({"cli/a.py": "class Row: ...\nclass B:\n    class Row: ..."}, "two classes are called Row"),
    ],
)
def test_a_name_for_two_things_is_found(modules, said):
    (sentence,) = names_used_twice(tree(modules))
    assert said in sentence


@pytest.mark.parametrize(
    "modules",
    [
        {"cli/__init__.py": "", "report/__init__.py": ""},
        {"commands/gradcheck.py": "", "diagnostics/gradcheck/__init__.py": ""},
        {"cli/a.py": "class _Row: ...", "report/b.py": "class _Row: ..."},
        {"cli/a.py": "def row(): ...", "report/b.py": "def row(): ..."},
    ],
)
def test_names_for_one_thing_each_are_left_alone(modules):
    assert names_used_twice(tree(modules)) == []
