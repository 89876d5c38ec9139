"""Initialisations: the law that a layer's starting weights are drawn from.

A function takes the weights' shape [out, in, *kernel] and draws from `generator`, in float64 on the CPU; the caller
moves and rounds. Within a family a layer's weights come from the same underlying draws, only scaled, so that two inits
compared at one seed differ by their scale alone: normal, xavier_normal, kaiming_normal, lecun_normal, and the Gaussian
that orthogonal, lsuv and sparse start from; uniform, xavier_uniform, kaiming_uniform, torch_default. What torch_default
draws for biases and sparse for its places comes after the layer's weights and moves the stream on.

The variance of one weight stands in a function of its own, which the draws use and which predicts how signals travel.
Biases are zero unless the init says otherwise. `gain` takes a number or `auto`, which `resolve_gain` makes a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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

Shape = tuple[int, ...]
SQRT2: Final = math.sqrt(2.0)


@dataclass(frozen=True)
class Init:
    """A row of the table.

    Attributes:
        function: `function(shape, generator=..., **keys)`, the weights.
        variance: `variance(shape, **keys)`, the variance of one weight over draws; 0 where nothing is drawn.
        law: of one weight: a single point, uniform, normal, normal cut off at both ends, or another.
        source: who proposed it.
        bias: `bias(weight_shape, generator)`, the biases [out], of the weights' own variance; None for zeros.
        built: PyTorch's own constructors draw, module by module; `function` is what `nn.Linear`'s does.
        rescale: factor on a layer's weights, given the standard deviation of its pre-activations on data; None for an
            init that sees no data.
    """

    function: Callable[..., Tensor]
    variance: Callable[..., float]
    law: Literal["point", "uniform", "normal", "truncated normal", "other"]
    source: str
    bias: Callable[[Shape, Generator], Tensor] | None = None
    rescale: Callable[[Tensor], Tensor] | None = None
    built: bool = False

    @property
    def deterministic(self) -> bool:
        """Nothing is drawn: every seed starts at the same weights."""
        return self.law == "point"

    @property
    def data_dependent(self) -> bool:
        """The weights are finished on training data, by `rescale`, layer by layer from the input."""
        return self.rescale is not None


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of weights [out, in, *kernel]: those that meet in a unit, and those that leave an input."""
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def _normal(shape: Shape, variance: float, generator: Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64) * math.sqrt(variance)


def _uniform(shape: Shape, variance: float, generator: Generator) -> Tensor:
    """U(-b, b) with b^2 = 3 variance."""
    return (2.0 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1.0) * math.sqrt(3.0 * variance)


def _nothing_drawn(shape: Shape, **values: Value) -> float:  # noqa: ARG001
    return 0.0


def zeros(shape: Shape, *, generator: Generator) -> Tensor:  # noqa: ARG001
    """0 everywhere: with f(0) = 0 no weight ever gets a gradient, and only the output's bias learns."""
    return torch.zeros(shape, dtype=torch.float64)


def constant(shape: Shape, *, val: Number = 0.1, generator: Generator) -> Tensor:  # noqa: ARG001
    """val everywhere: the units of a layer stay copies of one another."""
    return torch.full(shape, val, dtype=torch.float64)


def uniform_variance(shape: Shape, *, a: Number = 0.0, b: Number = 1.0) -> float:  # noqa: ARG001
    """(b - a)^2 / 12."""
    return (b - a) ** 2 / 12.0


def uniform(shape: Shape, *, a: Number = 0.0, b: Number = 1.0, generator: Generator) -> Tensor:
    """U(a, b); PyTorch's default, U(0, 1), has a mean that every unit adds up."""
    _check_order("uniform", a, b)
    return a + (b - a) * torch.rand(shape, generator=generator, dtype=torch.float64)


def normal_variance(shape: Shape, *, mean: Number = 0.0, std: NonNegative = 1.0) -> float:  # noqa: ARG001
    """std^2."""
    return std * std


def normal(shape: Shape, *, mean: Number = 0.0, std: NonNegative = 1.0, generator: Generator) -> Tensor:
    """N(mean, std^2), whatever the width: at std = 1 each layer multiplies the signal by about sqrt(fan_in)."""
    return mean + _normal(shape, std * std, generator)


def truncated_normal_variance(
    shape: Shape,  # noqa: ARG001
    *,
    mean: Number = 0.0,
    std: Positive = 1.0,
    a: Number = -2.0,
    b: Number = 2.0,
) -> float:
    """std^2 (1 + (l phi(l) - h phi(h)) / Z - ((phi(l) - phi(h)) / Z)^2), l and h the ends in units of std from mean."""
    low, high = (a - mean) / std, (b - mean) / std
    inside = _below(high) - _below(low)
    at_low, at_high = (math.exp(-0.5 * end * end) / math.sqrt(2.0 * math.pi) for end in (low, high))
    shift = (at_low - at_high) / inside
    return std * std * (1.0 + (low * at_low - high * at_high) / inside - shift**2)


def truncated_normal(
    shape: Shape,
    *,
    mean: Number = 0.0,
    std: Positive = 1.0,
    a: Number = -2.0,
    b: Number = 2.0,
    generator: Generator,
) -> Tensor:
    """N(mean, std^2) given that it lies in [a, b]; a and b are values, not multiples of std (as in PyTorch).

    By inversion: the normal quantile of a uniform draw between the probabilities of a and b.
    """
    _check_order("truncated_normal", a, b)
    low, high = _below((a - mean) / std), _below((b - mean) / std)
    if high - low < 1e-12:
        raise UsageError(
            f"{mention('init', 'truncated_normal')}: [{a!r}, {b!r}] is too far from mean {mean!r} at std {std!r}."
        )
    quantile = low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)
    z: Tensor = torch.special.ndtri(quantile)
    return (mean + std * z).clamp_(a, b)


def _below(z: float) -> float:
    """The standard normal distribution function."""
    return 0.5 * math.erfc(-z / SQRT2)


def _check_order(name: str, a: float, b: float) -> None:
    if a >= b:
        raise UsageError(f"{mention('init', name)} needs a below b, not a={a!r} and b={b!r}.")


def xavier_variance(shape: Shape, *, gain: Gain = 1.0) -> float:
    """2 gain^2 / (fan_in + fan_out): between what keeps the signal forward and what keeps the gradient backward."""
    return 2.0 * _number(gain) ** 2 / sum(fans(shape))


def xavier_uniform(shape: Shape, *, gain: Gain = 1.0, generator: Generator) -> Tensor:
    """U(-b, b) with b = gain sqrt(6 / (fan_in + fan_out)). Source: Glorot and Bengio 2010, eq. 16."""
    return _uniform(shape, xavier_variance(shape, gain=gain), generator)


def xavier_normal(shape: Shape, *, gain: Gain = 1.0, generator: Generator) -> Tensor:
    """N(0, 2 gain^2 / (fan_in + fan_out)). Source: Glorot and Bengio 2010, eq. 12."""
    return _normal(shape, xavier_variance(shape, gain=gain), generator)


def kaiming_variance(shape: Shape, *, gain: Gain = SQRT2, mode: Word = "fan_in") -> float:
    """gain^2 / fan_in, or fan_out: the gain of sqrt 2 repays the half of the second moment that a ReLU removes."""
    if mode not in ("fan_in", "fan_out"):
        raise UsageError(f"{mention('init')} kaiming's mode is fan_in or fan_out, not {mode!r}.")
    fan_in, fan_out = fans(shape)
    return _number(gain) ** 2 / (fan_in if mode == "fan_in" else fan_out)


def kaiming_uniform(shape: Shape, *, gain: Gain = SQRT2, mode: Word = "fan_in", generator: Generator) -> Tensor:
    """U(-b, b) with b = gain sqrt(3 / fan). Source: He et al. 2015, eq. 10, with a uniform law."""
    return _uniform(shape, kaiming_variance(shape, gain=gain, mode=mode), generator)


def kaiming_normal(shape: Shape, *, gain: Gain = SQRT2, mode: Word = "fan_in", generator: Generator) -> Tensor:
    """N(0, gain^2 / fan). Source: He et al. 2015, eq. 10 (fan_in), eq. 14 (fan_out)."""
    return _normal(shape, kaiming_variance(shape, gain=gain, mode=mode), generator)


def lecun_variance(shape: Shape) -> float:
    """1 / fan_in."""
    return 1.0 / fans(shape)[0]


def lecun_normal(shape: Shape, *, generator: Generator) -> Tensor:
    """N(0, 1 / fan_in): keeps the variance of a linear layer; what selu asks for. Source: LeCun et al. 1998, eq. 16."""
    return _normal(shape, lecun_variance(shape), generator)


def orthogonal_variance(shape: Shape, *, gain: Gain = 1.0) -> float:
    """gain^2 over the greater of the two sides: each row (or column) has length gain."""
    return _number(gain) ** 2 / max(shape[0], math.prod(shape[1:]))


def orthogonal(shape: Shape, *, gain: Gain = 1.0, generator: Generator) -> Tensor:
    """gain times a matrix with orthonormal rows or columns, whichever are fewer, uniform among those.

    The kernel counts with the inputs. Uniform because the QR factors of a Gaussian are made unique by the signs of R's
    diagonal (Mezzadri 2007). Source: Saxe et al. 2014.
    """
    weights = torch.empty(shape, dtype=torch.float64)
    return torch.nn.init.orthogonal_(weights, _number(gain), generator=generator)


def sparse_variance(shape: Shape, *, sparsity: Probability = 0.9, std: NonNegative = 0.01) -> float:
    """std^2 times the part of the weights that are not zero."""
    return std * std * (1.0 - math.ceil(sparsity * shape[0]) / shape[0])


def sparse(shape: Shape, *, sparsity: Probability = 0.9, std: NonNegative = 0.01, generator: Generator) -> Tensor:
    """N(0, std^2), with a part `sparsity` (rounded up) of each input's outgoing weights set to zero at random.

    Source: Martens 2010, section 5; by column as `torch.nn.init.sparse_`, whose places come from the global stream.
    """
    weights = _normal(shape, std * std, generator)
    order = torch.rand(shape, generator=generator, dtype=torch.float64).argsort(0)
    return weights.scatter_(0, order[: math.ceil(sparsity * shape[0])], 0.0)


def lsuv(shape: Shape, *, generator: Generator) -> Tensor:
    """Orthogonal weights, each layer then divided by the deviation of its pre-activations on data.

    Layer by layer from the input, so that every pre-activation has variance 1. A layer without bias is linear in its
    weights, so one division does what the paper repeats until the variance is near 1. Source: Mishkin and Matas 2016.
    """
    return orthogonal(shape, generator=generator)


def unit_deviation(std: Tensor) -> Tensor:
    """1 / std: the factor on a layer's weights that gives its pre-activations variance 1; 1 where they do not vary."""
    return torch.where(std > 0, 1.0 / std, 1.0)


def torch_default_variance(shape: Shape) -> float:
    """1 / (3 fan_in), of weights and biases alike."""
    return 1.0 / (3.0 * fans(shape)[0])


def torch_default(shape: Shape, *, generator: Generator) -> Tensor:
    """U(-b, b) with b = 1 / sqrt(fan_in), as `nn.Linear` and `nn.Conv1d` to `nn.Conv3d` start, biases too.

    PyTorch writes it as kaiming_uniform with a = sqrt 5; a sixth of the second moment that ReLU layers need.
    """
    return _uniform(shape, torch_default_variance(shape), generator)


def torch_default_bias(shape: Shape, generator: Generator) -> Tensor:
    """U(-b, b) with b = 1 / sqrt(fan_in), [out]."""
    return _uniform(shape[:1], torch_default_variance(shape), generator)


def as_built(shape: Shape, *, generator: Generator) -> Tensor:
    """What each module's own constructor makes, under the seed: nn.Linear's is U(-b, b) with b = 1 / sqrt(fan_in).

    A module of your own starts so unless another init is named. Every kind of layer has its constructor's law: norms
    are 1 and 0, recurrent layers U(-b, b) with b = 1 / sqrt(units), an nn.Embedding N(0, 1). The other inits replace the
    weights and biases of layers that PyTorch draws, and leave everything else as it is built.
    """
    return torch_default(shape, generator=generator)


def _number(gain: Gain) -> float:
    assert not isinstance(gain, str), "resolve_gain comes before the draw"
    return gain


def resolve_gain(values: Mapping[str, Value | None], activation: str) -> dict[str, Value | None]:
    """The keys of an init with `gain=auto` replaced by the activation's own gain.

    Args:
        values: keys and values, as `key_values` gives them.
        activation: the activation's specification, `leaky_relu` or `leaky_relu:negative_slope=0.2`.
    """
    if values.get("gain") != "auto":
        return dict(values)
    spec = parse_spec(activation, what=mention("activation"))
    entry = activation_named(spec)
    return {**values, "gain": entry.gain(**key_values(entry.function, spec, what=mention("activation")))}


def init_named(spec: Spec, *, what: str = mention("init")) -> Init:
    """The init that `spec` names: of the table, or a person's own `function(shape, *, generator)`.

    Raises:
        UsageError: no such name, file or function.
    """
    return find(INITS, spec, what=what, own=own_init)


def own_init(function: Callable[..., Tensor]) -> Init:
    """A row for a person's own function of a weight's shape [out, in, *kernel]; biases are zero, no variance is foretold."""
    check_call(function, "shape", what=mention("init"), generator=None)
    return Init(function, lambda shape, **_: math.nan, "other", "")  # noqa: ARG005


INITS: Final[Mapping[str, Init]] = {
    "torch_default": Init(
        torch_default, torch_default_variance, "uniform", "PyTorch since 0.4, nn.Linear", bias=torch_default_bias
    ),
    "as_built": Init(
        as_built,
        torch_default_variance,
        "uniform",
        "the constructors of torch.nn, or your own module's",
        bias=torch_default_bias,
        built=True,
    ),
    "zeros": Init(zeros, _nothing_drawn, "point", "a control: it can't break the symmetry"),
    "constant": Init(constant, _nothing_drawn, "point", "a control: it can't break the symmetry"),
    "uniform": Init(uniform, uniform_variance, "uniform", "torch.nn.init.uniform_"),
    "normal": Init(normal, normal_variance, "normal", "torch.nn.init.normal_"),
    "truncated_normal": Init(
        truncated_normal, truncated_normal_variance, "truncated normal", "torch.nn.init.trunc_normal_"
    ),
    "xavier_uniform": Init(xavier_uniform, xavier_variance, "uniform", "Glorot and Bengio 2010, eq. 16"),
    "xavier_normal": Init(xavier_normal, xavier_variance, "normal", "Glorot and Bengio 2010, eq. 12"),
    "kaiming_uniform": Init(kaiming_uniform, kaiming_variance, "uniform", "He et al. 2015, eq. 10"),
    "kaiming_normal": Init(kaiming_normal, kaiming_variance, "normal", "He et al. 2015, eq. 10"),
    "lecun_normal": Init(lecun_normal, lecun_variance, "normal", "LeCun et al. 1998, eq. 16"),
    "orthogonal": Init(orthogonal, orthogonal_variance, "other", "Saxe et al. 2014"),
    "sparse": Init(sparse, sparse_variance, "other", "Martens 2010, section 5"),
    "lsuv": Init(lsuv, orthogonal_variance, "other", "Mishkin and Matas 2016", rescale=unit_deviation),
}
