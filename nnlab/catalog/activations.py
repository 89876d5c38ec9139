"""Activations: an elementwise function and its slope, both written by hand, for tensors of any shape.

A slope is computed from the output h wherever h determines it, so that a layer can overwrite its pre-activation z with h
and keep one tensor instead of two. At a kink the slope is the one that PyTorch's own backward pass uses.

An activation's `gain` is the factor on the weights' standard deviation that `gain=auto` stands for. It is PyTorch's
(`torch.nn.init.calculate_gain`) where PyTorch has one: 1 for identity and sigmoid, sqrt 2 for relu,
sqrt(2 / (1 + s^2)) for leaky_relu, 5/3 for tanh, 3/4 for selu. For the others it is 1 / sqrt(E f(z)^2) with z ~ N(0, 1):
the factor that passes on to the next layer the second moment that this layer received (He et al. 2015, eq. 9, for any f).
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Final, Literal

from nnlab.catalog.custom import check_call
from nnlab.catalog.entry import find
from nnlab.core.errors import UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from nnlab.core.kinds import NonNegative, Number, Positive, Value, Word
    from nnlab.core.spec import Spec
else:
    torch = lazy("torch")
    F = lazy("torch.nn.functional")

# Klambauer et al. 2017, eq. 14: with these, N(0, 1) goes to mean 0 and variance 1.
SELU_ALPHA: Final = 1.6732632423543772848170429916717
SELU_SCALE: Final = 1.0507009873554804934193349852946


def _fixed_gain(gain: float) -> Callable[..., float]:
    """`gain(**keys)`: the same number whatever the keys."""
    return lambda **_: gain


_UNIT_GAIN: Final = _fixed_gain(1.0)


def _second_moment_gain(function: Callable[..., Tensor]) -> Callable[..., float]:
    """`gain(**keys)`: 1 / sqrt(E f(z)^2) with z ~ N(0, 1).

    The midpoint rule on [-10, 10] with a thousand points per unit: a kink or a jump at a multiple of 0.001 falls between
    two points, so it costs no accuracy; about 1e-7 relative.
    """

    def gain(**values: Value) -> float:
        z = (torch.arange(-10_000, 10_000, dtype=torch.float64) + 0.5) / 1000.0
        weight = torch.exp(-0.5 * z * z)
        moment = (weight * function(z, **values).square()).sum() / weight.sum()
        return float(moment.rsqrt())

    return gain


@dataclass(frozen=True)
class Activation:
    """A row of ACTIVATIONS.

    Attributes:
        function: `function(z, **keys)`: h, with z's shape and dtype.
        slope: `slope(v, **keys)`: f'(z), where v is what `slope_of` names. A new tensor, never a view of v.
        slope_of: the output h or the input z.
        bounded: h stays between two finite values, so that the unit can saturate.
        gain: `gain(**keys)`: the number that `gain=auto` stands for.
        is_threshold: the slope is 1 where h > 0 and 0 elsewhere, so that a gradient passes back in one pass over memory.
        in_place: name of the function in `torch` that overwrites z with the same result; None if there is none.
        torch_class: name of the class in `torch.nn` that takes the same keys; None if there is none.
        source: who defined it.
    """

    function: Callable[..., Tensor]
    slope: Callable[..., Tensor]
    _: KW_ONLY
    slope_of: Literal["output", "input"] = "output"
    bounded: bool = False
    gain: Callable[..., float] = _UNIT_GAIN
    is_threshold: bool = False
    in_place: str | None = None
    torch_class: str | None = None
    source: str = ""


def identity(z: Tensor) -> Tensor:
    """z itself; a network of identity units is linear."""
    return z


def identity_slope(h: Tensor) -> Tensor:
    """1."""
    return torch.ones_like(h)


def relu(z: Tensor) -> Tensor:
    """max(0, z)."""
    return F.relu(z)


def relu_slope(h: Tensor) -> Tensor:
    """1 where h > 0, else 0 (also at the kink)."""
    return h.sign()


def leaky_relu(z: Tensor, *, negative_slope: NonNegative = 0.01) -> Tensor:
    """z where z > 0, else negative_slope * z: a unit that is switched off still learns."""
    return F.leaky_relu(z, negative_slope)


def leaky_relu_slope(h: Tensor, *, negative_slope: NonNegative = 0.01) -> Tensor:
    """1 where h > 0, else negative_slope."""
    return torch.full_like(h, negative_slope).masked_fill_(h > 0, 1.0)


def leaky_relu_gain(*, negative_slope: NonNegative = 0.01) -> float:
    """sqrt(2 / (1 + negative_slope^2)); He et al. 2015, eq. 15."""
    return math.sqrt(2.0 / (1.0 + negative_slope**2))


def elu(z: Tensor, *, alpha: Positive = 1.0) -> Tensor:
    """z where z > 0, else alpha (exp(z) - 1)."""
    return F.elu(z, alpha)


def elu_slope(h: Tensor, *, alpha: Positive = 1.0) -> Tensor:
    """1 where h > 0, else alpha exp(z), which is h + alpha."""
    return (h + alpha).masked_fill_(h > 0, 1.0)


def selu(z: Tensor) -> Tensor:
    """1.0507 z where z > 0, else 1.7581 (exp(z) - 1): keeps mean 0 and variance 1 from layer to layer."""
    return F.selu(z)


def selu_slope(h: Tensor) -> Tensor:
    """1.0507 where h > 0, else h + 1.7581."""
    return (h + SELU_SCALE * SELU_ALPHA).masked_fill_(h > 0, SELU_SCALE)


def gelu(z: Tensor, *, approximate: Word = "none") -> Tensor:
    """z Phi(z), with Phi the normal distribution function; approximate: none, or tanh for the shorter formula of 2016."""
    _uses_tanh(approximate)
    h: Tensor = F.gelu(z, approximate=approximate)
    return h


def gelu_slope(z: Tensor, *, approximate: Word = "none") -> Tensor:
    """Phi(z) + z phi(z), or the derivative of the tanh formula."""
    if not _uses_tanh(approximate):
        probability: Tensor = torch.special.ndtr(z)
        density = torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        return probability + z * density
    c = math.sqrt(2.0 / math.pi)
    t = torch.tanh(c * (z + 0.044715 * z**3))
    return 0.5 * (1.0 + t) + 0.5 * c * z * (1.0 - t * t) * (1.0 + 3.0 * 0.044715 * z * z)


def _uses_tanh(approximate: Word) -> bool:
    """True if gelu is computed by the tanh formula.

    Raises:
        UsageError: neither none nor tanh.
    """
    if approximate not in ("none", "tanh"):
        raise UsageError(f"{mention('activation', 'gelu:approximate')} takes none or tanh, not {approximate!r}.")
    return approximate == "tanh"


def silu(z: Tensor) -> Tensor:
    """z sigmoid(z), also called swish."""
    return F.silu(z)


def silu_slope(z: Tensor) -> Tensor:
    """s (1 + z (1 - s)) with s = sigmoid(z)."""
    s = torch.sigmoid(z)
    return s * (1.0 + z * (1.0 - s))


def tanh(z: Tensor) -> Tensor:
    """(exp(z) - exp(-z)) / (exp(z) + exp(-z)), between -1 and 1."""
    return torch.tanh(z)


def tanh_slope(h: Tensor) -> Tensor:
    """1 - h^2."""
    return h.square().neg_().add_(1.0)


def sigmoid(z: Tensor) -> Tensor:
    """1 / (1 + exp(-z)), between 0 and 1."""
    return torch.sigmoid(z)


def sigmoid_slope(h: Tensor) -> Tensor:
    """h (1 - h), at most 1/4."""
    return (1.0 - h).mul_(h)


def softplus(z: Tensor, *, beta: Positive = 1.0, threshold: Number = 20.0) -> Tensor:
    """log(1 + exp(beta z)) / beta, a smooth relu; z itself where beta z > threshold."""
    return F.softplus(z, beta, threshold)


def softplus_slope(z: Tensor, *, beta: Positive = 1.0, threshold: Number = 20.0) -> Tensor:
    """sigmoid(beta z); 1 where beta z > threshold. Of the input, since a low threshold makes the output ambiguous."""
    x = z * beta
    return torch.sigmoid(x).masked_fill_(x > threshold, 1.0)


def softsign(z: Tensor) -> Tensor:
    """z / (1 + |z|), between -1 and 1; saturates more slowly than tanh."""
    return F.softsign(z)


def softsign_slope(h: Tensor) -> Tensor:
    """1 / (1 + |z|)^2, which is (1 - |h|)^2."""
    return (1.0 - h.abs()).square_()


def hardtanh(z: Tensor, *, min_val: Number = -1.0, max_val: Number = 1.0) -> Tensor:
    """z, clipped to [min_val, max_val]."""
    _check_limits(min_val, max_val)
    return F.hardtanh(z, min_val, max_val)


def hardtanh_slope(h: Tensor, *, min_val: Number = -1.0, max_val: Number = 1.0) -> Tensor:
    """1 strictly between the limits, else 0."""
    return ((h > min_val) & (h < max_val)).to(h.dtype)


def _check_limits(min_val: Number, max_val: Number) -> None:
    if min_val >= max_val:
        raise UsageError(
            f"{mention('activation', 'hardtanh')} needs min_val below max_val, not {min_val!r} and {max_val!r}."
        )


def step(z: Tensor) -> Tensor:
    """1 where z > 0, else 0: the threshold unit. Gradient descent can't train it, because its slope is zero everywhere."""
    return (z > 0).to(z.dtype)


def step_slope(h: Tensor) -> Tensor:
    """0, also at the jump, where the derivative does not exist."""
    return torch.zeros_like(h)


def activation_named(spec: Spec, *, what: str = mention("activation")) -> Activation:
    """The activation that `spec` names: a row of the table, or one made for a person's own function of z.

    Raises:
        UsageError: no such name, file or function.
    """
    return find(ACTIVATIONS, spec, what=what, own=own_activation)


def own_activation(function: Callable[..., Tensor]) -> Activation:
    """A row for a person's own elementwise function of z, with the slope from autograd."""
    check_call(function, "z", what=mention("activation"))

    def slope(z: Tensor, **values: Value | None) -> Tensor:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (slopes,) = torch.autograd.grad(function(z, **values).sum(), z)
        return slopes

    return Activation(function, slope, slope_of="input")


ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "identity": Activation(
        identity,
        identity_slope,
        torch_class="Identity",
        source="linear algebra",
    ),
    "relu": Activation(
        relu,
        relu_slope,
        is_threshold=True,
        gain=_fixed_gain(math.sqrt(2.0)),
        in_place="relu_",
        torch_class="ReLU",
        source="Nair and Hinton 2010",
    ),
    "leaky_relu": Activation(
        leaky_relu,
        leaky_relu_slope,
        gain=leaky_relu_gain,
        torch_class="LeakyReLU",
        source="Maas et al. 2013",
    ),
    "elu": Activation(
        elu,
        elu_slope,
        gain=_second_moment_gain(elu),
        torch_class="ELU",
        source="Clevert et al. 2016, eq. 15",
    ),
    "selu": Activation(
        selu,
        selu_slope,
        gain=_fixed_gain(0.75),
        in_place="selu_",
        torch_class="SELU",
        source="Klambauer et al. 2017, eq. 2",
    ),
    "gelu": Activation(
        gelu,
        gelu_slope,
        slope_of="input",
        gain=_second_moment_gain(gelu),
        torch_class="GELU",
        source="Hendrycks and Gimpel 2016",
    ),
    "silu": Activation(
        silu,
        silu_slope,
        slope_of="input",
        gain=_second_moment_gain(silu),
        torch_class="SiLU",
        source="Hendrycks and Gimpel 2016",
    ),
    "tanh": Activation(
        tanh,
        tanh_slope,
        bounded=True,
        gain=_fixed_gain(5.0 / 3.0),
        in_place="tanh_",
        torch_class="Tanh",
        source="LeCun et al. 1998",
    ),
    "sigmoid": Activation(
        sigmoid,
        sigmoid_slope,
        bounded=True,
        in_place="sigmoid_",
        torch_class="Sigmoid",
        source="Rumelhart et al. 1986",
    ),
    "softplus": Activation(
        softplus,
        softplus_slope,
        slope_of="input",
        gain=_second_moment_gain(softplus),
        torch_class="Softplus",
        source="Dugas et al. 2001",
    ),
    "softsign": Activation(
        softsign,
        softsign_slope,
        bounded=True,
        gain=_second_moment_gain(softsign),
        torch_class="Softsign",
        source="Glorot and Bengio 2010, section 2.2",
    ),
    "hardtanh": Activation(
        hardtanh,
        hardtanh_slope,
        bounded=True,
        gain=_second_moment_gain(hardtanh),
        torch_class="Hardtanh",
        source="Collobert 2004",
    ),
    "step": Activation(
        step,
        step_slope,
        bounded=True,
        gain=_second_moment_gain(step),
        source="McCulloch and Pitts 1943; Rosenblatt 1958",
    ),
}
