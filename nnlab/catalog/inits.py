"""Initialisations: the distribution from which a layer's starting weights are drawn.

A function takes the weights' shape [out, in, *kernel] and draws from `generator`, in float64 on the CPU; the caller moves the
weights to the device and rounds them. Within a family a layer's weights are the same underlying draws at different scales,
so that two inits compared at one seed differ only in scale. One family is normal, xavier_normal, kaiming_normal,
lecun_normal, and the Gaussian that orthogonal, lsuv and sparse start from; the other is uniform, xavier_uniform,
kaiming_uniform, torch_default. The biases of torch_default and the positions of sparse are drawn after the layer's weights,
which advances the stream.

The variance of one weight has a function of its own. The draws use it, and so does the prediction of how signals propagate.
Biases are zero unless the init says otherwise. `gain` takes a number or `auto`, which `resolve_gain` replaces by a number.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Final, Literal

from nnlab.catalog.activations import activation_named
from nnlab.catalog.custom import check_call
from nnlab.catalog.entry import find, key_values
from nnlab.core.errors import UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spec import Spec, parse_spec
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from torch import Generator, Tensor

    from nnlab.core.kinds import Gain, NonNegative, Number, Positive, Probability, Value, Word
else:
    torch = lazy("torch")

WeightShape = tuple[int, ...]
SQRT2: Final = math.sqrt(2.0)


@dataclass(frozen=True)
class Init:
    """A row of INITS.

    Attributes:
        function: `function(shape, generator=..., **keys)`: the weights.
        variance: `variance(shape, **keys)`: the variance of one weight over draws; 0 if nothing is drawn.
        law: the distribution of one weight.
        deterministic: nothing is drawn, so every seed starts at the same weights.
        bias: `bias(weight_shape, generator)`: the biases [out], with the variance of the weights; None for zeros.
        rescale: the factor on a layer's weights, given the standard deviation of its pre-activations on data; None if the init
            sees no data.
        built: PyTorch's own constructors draw, module by module; `function` draws as the constructor of `nn.Linear` does.
        source: who proposed it.
    """

    function: Callable[..., Tensor]
    variance: Callable[..., float]
    _: KW_ONLY
    law: Literal["one value", "uniform", "normal", "truncated normal", "other"] = "other"
    deterministic: bool = False
    bias: Callable[[WeightShape, Generator], Tensor] | None = None
    rescale: Callable[[Tensor], Tensor] | None = None
    built: bool = False
    source: str = ""

    @property
    def data_dependent(self) -> bool:
        """True if the weights are rescaled on training data, layer by layer from the input."""
        return self.rescale is not None


def fans(shape: WeightShape) -> tuple[int, int]:
    """(fan_in, fan_out) of weights [out, in, *kernel]: the number of weights into a unit and out of an input."""
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def _normal(shape: WeightShape, variance: float, generator: Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64) * math.sqrt(variance)


def _uniform(shape: WeightShape, variance: float, generator: Generator) -> Tensor:
    """U(-b, b) with b^2 = 3 variance."""
    return (2.0 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1.0) * math.sqrt(3.0 * variance)


def _zero_variance(shape: WeightShape, **values: Value) -> float:  # noqa: ARG001
    return 0.0


def zeros(shape: WeightShape, *, generator: Generator) -> Tensor:  # noqa: ARG001
    """0 everywhere: with f(0) = 0 no weight ever receives a gradient, and only the output's bias learns."""
    return torch.zeros(shape, dtype=torch.float64)


def constant(shape: WeightShape, *, val: Number = 0.1, generator: Generator) -> Tensor:  # noqa: ARG001
    """val everywhere: the units of a layer stay copies of one another."""
    return torch.full(shape, val, dtype=torch.float64)


def uniform_variance(shape: WeightShape, *, a: Number = 0.0, b: Number = 1.0) -> float:  # noqa: ARG001
    """(b - a)^2 / 12."""
    return (b - a) ** 2 / 12.0


def uniform(shape: WeightShape, *, a: Number = 0.0, b: Number = 1.0, generator: Generator) -> Tensor:
    """U(a, b). PyTorch's default, U(0, 1), has a mean above 0, which every unit sums over its inputs."""
    _check_order("uniform", a, b)
    return a + (b - a) * torch.rand(shape, generator=generator, dtype=torch.float64)


def normal_variance(shape: WeightShape, *, mean: Number = 0.0, std: NonNegative = 1.0) -> float:  # noqa: ARG001
    """std^2."""
    return std * std


def normal(shape: WeightShape, *, mean: Number = 0.0, std: NonNegative = 1.0, generator: Generator) -> Tensor:
    """N(mean, std^2), whatever the width: at std = 1 each layer multiplies the signal by about sqrt(fan_in)."""
    return mean + _normal(shape, std * std, generator)


def truncated_normal_variance(
    shape: WeightShape,  # noqa: ARG001
    *,
    mean: Number = 0.0,
    std: Positive = 1.0,
    a: Number = -2.0,
    b: Number = 2.0,
) -> float:
    """std^2 (1 + (l phi(l) - h phi(h)) / Z - ((phi(l) - phi(h)) / Z)^2), with l, h = (a - mean) / std, (b - mean) / std.

    Z is the probability of [a, b] under N(mean, std^2).
    """
    low, high = (a - mean) / std, (b - mean) / std
    inside = _normal_cdf(high) - _normal_cdf(low)
    at_low, at_high = (math.exp(-0.5 * end * end) / math.sqrt(2.0 * math.pi) for end in (low, high))
    shift = (at_low - at_high) / inside
    return std * std * (1.0 + (low * at_low - high * at_high) / inside - shift**2)


def truncated_normal(
    shape: WeightShape,
    *,
    mean: Number = 0.0,
    std: Positive = 1.0,
    a: Number = -2.0,
    b: Number = 2.0,
    generator: Generator,
) -> Tensor:
    """N(mean, std^2) truncated to [a, b]; a and b are values, not multiples of std (as in PyTorch).

    Drawn by inversion: the normal quantile of a uniform draw between the probabilities of a and b.
    """
    _check_order("truncated_normal", a, b)
    low, high = _normal_cdf((a - mean) / std), _normal_cdf((b - mean) / std)
    if high - low < 1e-12:
        raise UsageError(
            f"{mention('init', 'truncated_normal')}: [{a!r}, {b!r}] is too far from mean {mean!r} at std {std!r}."
        )
    quantile = low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)
    z: Tensor = torch.special.ndtri(quantile)
    return (mean + std * z).clamp_(a, b)


def _normal_cdf(z: float) -> float:
    """The probability that a standard normal number is at most z."""
    return 0.5 * math.erfc(-z / SQRT2)


def _check_order(name: str, a: float, b: float) -> None:
    if a >= b:
        raise UsageError(f"{mention('init', name)} needs a below b, not a={a!r} and b={b!r}.")


def xavier_variance(shape: WeightShape, *, gain: Gain = 1.0) -> float:
    """2 gain^2 / (fan_in + fan_out): a compromise between preserving the signal forward and the gradient backward."""
    return 2.0 * _number(gain) ** 2 / sum(fans(shape))


def xavier_uniform(shape: WeightShape, *, gain: Gain = 1.0, generator: Generator) -> Tensor:
    """U(-b, b) with b = gain sqrt(6 / (fan_in + fan_out)). Source: Glorot and Bengio 2010, eq. 16."""
    return _uniform(shape, xavier_variance(shape, gain=gain), generator)


def xavier_normal(shape: WeightShape, *, gain: Gain = 1.0, generator: Generator) -> Tensor:
    """N(0, 2 gain^2 / (fan_in + fan_out)). Source: Glorot and Bengio 2010, eq. 12."""
    return _normal(shape, xavier_variance(shape, gain=gain), generator)


def kaiming_variance(shape: WeightShape, *, gain: Gain = SQRT2, mode: Word = "fan_in") -> float:
    """gain^2 / fan_in, or / fan_out: the gain of sqrt 2 makes up for the half of the second moment that a ReLU removes."""
    if mode not in ("fan_in", "fan_out"):
        raise UsageError(f"The mode of kaiming in {mention('init')} is fan_in or fan_out, not {mode!r}.")
    fan_in, fan_out = fans(shape)
    return _number(gain) ** 2 / (fan_in if mode == "fan_in" else fan_out)


def kaiming_uniform(shape: WeightShape, *, gain: Gain = SQRT2, mode: Word = "fan_in", generator: Generator) -> Tensor:
    """U(-b, b) with b = gain sqrt(3 / fan). Source: He et al. 2015, eq. 10, with a uniform distribution."""
    return _uniform(shape, kaiming_variance(shape, gain=gain, mode=mode), generator)


def kaiming_normal(shape: WeightShape, *, gain: Gain = SQRT2, mode: Word = "fan_in", generator: Generator) -> Tensor:
    """N(0, gain^2 / fan). Source: He et al. 2015, eq. 10 (fan_in), eq. 14 (fan_out)."""
    return _normal(shape, kaiming_variance(shape, gain=gain, mode=mode), generator)


def lecun_variance(shape: WeightShape) -> float:
    """1 / fan_in."""
    return 1.0 / fans(shape)[0]


def lecun_normal(shape: WeightShape, *, generator: Generator) -> Tensor:
    """N(0, 1 / fan_in): preserves the variance in a linear layer; required by selu. Source: LeCun et al. 1998, eq. 16."""
    return _normal(shape, lecun_variance(shape), generator)


def orthogonal_variance(shape: WeightShape, *, gain: Gain = 1.0) -> float:
    """gain^2 divided by the longer side of the matrix: each row (or column) has length gain."""
    return _number(gain) ** 2 / max(shape[0], math.prod(shape[1:]))


def orthogonal(shape: WeightShape, *, gain: Gain = 1.0, generator: Generator) -> Tensor:
    """gain times a uniformly random matrix with orthonormal rows or columns, whichever are fewer.

    The kernel counts as inputs. Uniform because the QR factors of a Gaussian matrix are made unique by the signs of R's
    diagonal (Mezzadri 2007). Source: Saxe et al. 2014.
    """
    weights = torch.empty(shape, dtype=torch.float64)
    return torch.nn.init.orthogonal_(weights, _number(gain), generator=generator)


def sparse_variance(shape: WeightShape, *, sparsity: Probability = 0.9, std: NonNegative = 0.01) -> float:
    """std^2 times the fraction of the weights that are not zero."""
    return std * std * (1.0 - math.ceil(sparsity * shape[0]) / shape[0])


def sparse(shape: WeightShape, *, sparsity: Probability = 0.9, std: NonNegative = 0.01, generator: Generator) -> Tensor:
    """N(0, std^2), with a fraction `sparsity` (rounded up) of each input's outgoing weights set to zero at random.

    Source: Martens 2010, section 5; by column as in `torch.nn.init.sparse_`, which draws the positions from the global stream.
    """
    weights = _normal(shape, std * std, generator)
    order = torch.rand(shape, generator=generator, dtype=torch.float64).argsort(0)
    return weights.scatter_(0, order[: math.ceil(sparsity * shape[0])], 0.0)


def lsuv(shape: WeightShape, *, generator: Generator) -> Tensor:
    """Orthogonal weights, then divided in each layer by the standard deviation of its pre-activations on data.

    This goes layer by layer from the input, so that every layer's pre-activations have variance 1. A layer with zero biases is
    linear in its weights, so one division replaces the paper's iteration. Source: Mishkin and Matas 2016.
    """
    return orthogonal(shape, generator=generator)


def unit_deviation(std: Tensor) -> Tensor:
    """1 / std: the factor on a layer's weights that gives its pre-activations variance 1; 1 if they do not vary."""
    return torch.where(std > 0, 1.0 / std, 1.0)


def torch_default_variance(shape: WeightShape) -> float:
    """1 / (3 fan_in), for weights and biases alike."""
    return 1.0 / (3.0 * fans(shape)[0])


def torch_default(shape: WeightShape, *, generator: Generator) -> Tensor:
    """U(-b, b) with b = 1 / sqrt(fan_in), the default of `nn.Linear` and `nn.Conv1d` to `nn.Conv3d`, for biases too.

    PyTorch writes it as kaiming_uniform with a = sqrt 5. It has a sixth of the second moment that ReLU layers need.
    """
    return _uniform(shape, torch_default_variance(shape), generator)


def torch_default_bias(shape: WeightShape, generator: Generator) -> Tensor:
    """U(-b, b) with b = 1 / sqrt(fan_in), [out]."""
    return _uniform(shape[:1], torch_default_variance(shape), generator)


def as_built(shape: WeightShape, *, generator: Generator) -> Tensor:
    """The weights of each module's own constructor, seeded: for nn.Linear U(-b, b) with b = 1 / sqrt(fan_in).

    A module of your own starts like this unless another init is named. Every kind of layer has its constructor's distribution:
    norms are 1 and 0, recurrent layers U(-b, b) with b = 1 / sqrt(units), an nn.Embedding N(0, 1). The other inits replace the
    weights and biases of layers that PyTorch draws, and leave everything else as it is built.
    """
    return torch_default(shape, generator=generator)


def _number(gain: Gain) -> float:
    assert not isinstance(gain, str), "resolve_gain must be called before the draw"
    return gain


def resolve_gain(values: Mapping[str, Value | None], activation: str) -> dict[str, Value | None]:
    """Return the keys of an init with `gain=auto` replaced by the activation's gain.

    Args:
        values: keys and values, from `key_values`.
        activation: the activation's specification, `leaky_relu` or `leaky_relu:negative_slope=0.2`.
    """
    if values.get("gain") != "auto":
        return dict(values)
    spec = parse_spec(activation, what=mention("activation"))
    entry = activation_named(spec)
    return {**values, "gain": entry.gain(**key_values(entry.function, spec, what=mention("activation")))}


def init_named(spec: Spec, *, what: str = mention("init")) -> Init:
    """The init that `spec` names: a row of the table, or one made for a person's own `function(shape, *, generator)`.

    Raises:
        UsageError: no such name, file or function.
    """
    return find(INITS, spec, what=what, own=own_init)


def own_init(function: Callable[..., Tensor]) -> Init:
    """A row for a person's own function of the weights' shape [out, in, *kernel]: zero biases, unknown variance (NaN)."""
    check_call(function, "shape", what=mention("init"), generator=None)
    return Init(function, lambda shape, **_: math.nan)  # noqa: ARG005


INITS: Final[Mapping[str, Init]] = {
    "torch_default": Init(
        torch_default,
        torch_default_variance,
        law="uniform",
        bias=torch_default_bias,
        source="PyTorch since 0.4, nn.Linear",
    ),
    "as_built": Init(
        as_built,
        torch_default_variance,
        law="uniform",
        bias=torch_default_bias,
        built=True,
        source="the constructors of torch.nn, or your own module's",
    ),
    "zeros": Init(
        zeros,
        _zero_variance,
        law="one value",
        deterministic=True,
        source="a control: it can't break the symmetry",
    ),
    "constant": Init(
        constant,
        _zero_variance,
        law="one value",
        deterministic=True,
        source="a control: it can't break the symmetry",
    ),
    "uniform": Init(
        uniform,
        uniform_variance,
        law="uniform",
        source="torch.nn.init.uniform_",
    ),
    "normal": Init(
        normal,
        normal_variance,
        law="normal",
        source="torch.nn.init.normal_",
    ),
    "truncated_normal": Init(
        truncated_normal,
        truncated_normal_variance,
        law="truncated normal",
        source="torch.nn.init.trunc_normal_",
    ),
    "xavier_uniform": Init(
        xavier_uniform,
        xavier_variance,
        law="uniform",
        source="Glorot and Bengio 2010, eq. 16",
    ),
    "xavier_normal": Init(
        xavier_normal,
        xavier_variance,
        law="normal",
        source="Glorot and Bengio 2010, eq. 12",
    ),
    "kaiming_uniform": Init(
        kaiming_uniform,
        kaiming_variance,
        law="uniform",
        source="He et al. 2015, eq. 10",
    ),
    "kaiming_normal": Init(
        kaiming_normal,
        kaiming_variance,
        law="normal",
        source="He et al. 2015, eq. 10",
    ),
    "lecun_normal": Init(
        lecun_normal,
        lecun_variance,
        law="normal",
        source="LeCun et al. 1998, eq. 16",
    ),
    "orthogonal": Init(
        orthogonal,
        orthogonal_variance,
        source="Saxe et al. 2014",
    ),
    "sparse": Init(
        sparse,
        sparse_variance,
        source="Martens 2010, section 5",
    ),
    "lsuv": Init(
        lsuv,
        orthogonal_variance,
        rescale=unit_deviation,
        source="Mishkin and Matas 2016",
    ),
}
