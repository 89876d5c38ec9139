"""The settings of the commands that look closely and train no experiment: gradcheck and neuron."""

from __future__ import annotations

from typing import Literal

from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.settings.base import Settings, setting
from nnlab.settings.readers import (
    CountSetting,
    OptionalCount,
    OptionalNumber,
    OptionalNumberList,
    OptionalPositive,
    OptionalRate,
    OptionalSpec,
    OptionalWhole,
    PositiveSetting,
    SpecSetting,
    WordList,
)


class GradcheckSettings(Settings):
    """`nnlab gradcheck`: what is checked, how closely, or what is explained. Nothing named: the whole catalogue."""

    model: OptionalSpec = setting(
        None,
        "Model, with a loss and rows of data (default: mlp:hidden=100x100).",
        panel="What is checked",
        metavar="SPEC",
    )
    activation: OptionalSpec = setting(
        None, f"Its activation (default: relu; {mention('explain')}: sigmoid).", panel="What is checked", metavar="SPEC"
    )
    init: OptionalSpec = setting(None, "Its weights (default: torch_default).", panel="What is checked", metavar="SPEC")
    loss: OptionalSpec = setting(
        None, "Its loss (default: cross_entropy, bce or mse by task).", panel="What is checked", metavar="SPEC"
    )
    data: OptionalSpec = setting(None, "Its data (default: mnist1d).", panel="What is checked", metavar="SPEC")
    target: str | None = setting(None, "Column of the file to predict.", panel="What is checked", metavar="COLUMN")
    rows: CountSetting = setting(4, "So many rows of the data.", panel="What is checked", metavar="N")
    function: str | None = setting(
        None,
        f"A function, or a torch.autograd.Function, of the {mention('input')}.",
        panel="What is checked",
        metavar="FILE.py:NAME",
    )
    module: str | None = setting(
        None, "An nn.Module, its class, or what makes it.", panel="What is checked", metavar="FILE.py:NAME"
    )
    input: str | None = setting(
        None, "Shapes of the inputs: 4x3,5 (scalar: no dimension).", panel="What is checked", metavar="SHAPES"
    )
    domain: str | None = setting(
        None, "Keep inputs where the function is defined: 0.1:2.", panel="What is checked", metavar="LOW:HIGH"
    )
    complex_inputs: bool = setting(False, "Draw complex inputs.", panel="What is checked")

    checks: WordList = setting(
        "reverse", "Of reverse, forward, second, undefined, batched.", panel="How", metavar="NAME,NAME"
    )
    order: CountSetting = setting(1, "2: second derivatives as well.", panel="How", metavar="1|2")
    step: OptionalPositive = setting(
        None, "Relative step of the differences (default: 2^-12).", panel="How", metavar="X"
    )
    sample: OptionalCount = setting(
        None, "Ask N entries of every tensor, and random directions (default: every entry).", panel="How", metavar="N"
    )
    directions: CountSetting = setting(4, "So many directions.", panel="How", metavar="N")
    tolerance: PositiveSetting = setting(1e-6, "Relative error allowed in float64.", panel="How", metavar="X")
    dtype: Literal["float64", "float32", "bfloat16", "float16"] = setting(
        "float64", "Precision to check; float64 on the CPU is the reference.", panel="How"
    )
    device: str = setting("cpu", "Device to check: auto, cpu, cuda, cuda:N or mps.", panel="How")
    seed: OptionalWhole = setting(
        None, f"Seed of weights, inputs and samples (default: 0; {mention('explain')}: 2).", panel="How", metavar="N"
    )

    explain_step: bool = setting(False, "Show the error against the step: a V if right.", panel="Explaining")
    explain: bool = setting(False, "A small net forward and back, number by number.", panel="Explaining")
    chain: str | None = setting(
        None, "The same of formulas: 'h=X*Y+X; X=sin(t); Y=t**2'.", panel="Explaining", metavar="FORMULAS"
    )
    at: str | None = setting(None, "Where: t=0.7,u=2.", panel="Explaining", metavar="NAME=X")
    all: bool = setting(False, "Every row of a long table.", role="execution", panel="Output")


class NeuronSettings(Settings):
    """`nnlab neuron`: one neuron, one row of data or a gate."""

    weights: OptionalNumberList = setting(
        None, f"One for each input (default: 0.5,-1; {mention('gate')}: 0,0).", panel="Neuron", metavar="X,X"
    )
    bias: OptionalNumber = setting(None, f"Bias (default: 0.1; {mention('gate')}: 0).", panel="Neuron", metavar="X")
    activation: SpecSetting = setting(Spec("sigmoid"), "Activation.", panel="Neuron")
    input: OptionalNumberList = setting(None, "The row of data (default: 1,2).", panel="Neuron", metavar="X,X")
    target: OptionalNumber = setting(None, "What the output should be (default: 1).", panel="Neuron", metavar="X")
    loss: OptionalSpec = setting(None, "Loss of output and target (default: mse).", panel="Neuron", metavar="SPEC")
    lr: OptionalRate = setting(None, f"Learning rate (default: 0.5; {mention('gate')}: 1).", metavar="X")
    train: OptionalCount = setting(
        None, f"Steps to take (default: 1; {mention('gate')}: at most 1000 passes over its rows).", metavar="N"
    )
    gate: Literal["and", "or", "xor"] | None = setting(None, "Learn a gate: and, or or xor.", metavar="GATE")
    all: bool = setting(False, "Every row of a long table.", role="execution", panel="Output")
