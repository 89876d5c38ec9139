# ruff: noqa: ARG004, ARG005 - a mistake is often to ignore an argument
"""A bank of wrong gradients: every usual mistake, planted in layers of several shapes.

Most are made by one layer, `Spoiled`, whose backward is right but for what a spoil does to the gradient of one argument; so
parameter, place and cause are known. The others are backward passes written by hand with a mistake that people make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnlab.diagnostics.gradcheck.subjects import Subject, function_subject, module_subject

Forward = Callable[..., Tensor]
Spoil = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Planted:
    """A bug and what a check should say of it.

    Attributes:
        wrong: the names of all tensors whose gradient it spoils.
        kinds: the kinds of cause that name it, for the first of `wrong`.
        place: whether an index may be named as the worst entry's, for the first of `wrong`.
    """

    name: str
    subject: Subject
    wrong: tuple[str, ...]
    kinds: tuple[str, ...]
    place: Callable[[tuple[int, ...]], bool] = lambda index: True


def spoiled(forward: Forward, argument: int, spoil: Spoil) -> Forward:
    """`forward` as an autograd.Function whose gradient by one argument is spoiled."""

    class Spoiled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.save_for_backward(*tensors)
            return forward(*tensors)

        @staticmethod
        def backward(ctx, upstream):
            leaves = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
            with torch.enable_grad():
                gradients = list(torch.autograd.grad(forward(*leaves), leaves, upstream))
            gradients[argument] = spoil(gradients[argument])
            return tuple(gradients)

    return Spoiled.apply


def draws(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


# Layers: a function, its argument names, their shapes.
LAYERS = {
    "linear": (F.linear, ("input", "weight", "bias"), ((6, 5), (4, 5), (4,))),
    "square": (F.linear, ("input", "weight", "bias"), ((7, 5), (5, 5), (5,))),
    "conv1d": (F.conv1d, ("input", "weight", "bias"), ((3, 4, 9), (5, 4, 3), (5,))),
    "conv2d": (F.conv2d, ("input", "weight", "bias"), ((3, 2, 5, 5), (4, 2, 3, 3), (4,))),
    "bilinear": (lambda q, k, v: torch.softmax(q @ k.t(), 1) @ v, ("q", "k", "v"), ((6, 3), (7, 3), (7, 4))),
    "scale": (lambda x, weight, bias: torch.tanh(x) * weight + bias, ("x", "weight", "bias"), ((6, 9), (9,), (9,))),
}


def layer(name: str, argument: str, spoil: Spoil) -> Subject:
    """A layer alone, spoiled in one argument."""
    forward, names, shapes = LAYERS[name]
    function = spoiled(forward, names.index(argument), spoil)
    point = dict(zip(names, draws(*shapes), strict=True))
    return Subject(name, lambda tensors: function(*(tensors[key] for key in names)), point)


def in_slice(dim: int, index: int, spoil: Spoil) -> Spoil:
    def inner(gradient: Tensor) -> Tensor:
        changed = gradient.clone()
        changed.select(dim, index).copy_(spoil(gradient.select(dim, index)))
        return changed

    return inner


def at_entry(entry: tuple[int, ...], spoil: Spoil) -> Spoil:
    def inner(gradient: Tensor) -> Tensor:
        changed = gradient.clone()
        changed[entry] = spoil(gradient[entry])
        return changed

    return inner


def rolled(gradient: Tensor) -> Tensor:
    return gradient.roll(1, 0)


def noisy(gradient: Tensor) -> Tensor:
    return gradient + 0.01 * torch.randn_like(gradient)


def mean_over_first(gradient: Tensor) -> Tensor:
    return gradient.mean(0, keepdim=True).expand_as(gradient)


WHOLE: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "factor 2": (lambda g: 2 * g, ("factor",)),
    "factor 1/2": (lambda g: g / 2, ("factor",)),
    "factor 1.01": (lambda g: 1.01 * g, ("factor",)),
    "sign": (lambda g: -g, ("sign",)),
    "zero": (lambda g: 0 * g, ("detached",)),
    "noise": (noisy, ("noise",)),
}
SWEPT = [
    ("linear", "weight"),
    ("linear", "input"),
    ("conv1d", "weight"),
    ("conv2d", "bias"),
    ("bilinear", "k"),
    ("scale", "weight"),
]


def whole_tensor_bugs() -> list[Planted]:
    return [
        Planted(f"{name} {argument}: {what}", layer(name, argument, spoil), (argument,), kinds)
        for name, argument in SWEPT
        for what, (spoil, kinds) in WHOLE.items()
    ]


def size_bugs() -> list[Planted]:
    """N and 1/N: the sum where the mean is due, and the reverse."""
    cases = [("linear", "weight", 6), ("square", "bias", 7), ("conv1d", "weight", 3), ("scale", "bias", 6)]
    return [
        Planted(f"{name} {argument}: {what}", layer(name, argument, spoil), (argument,), ("mean against sum",))
        for name, argument, count in cases
        for what, spoil in (
            (f"N = {count}", lambda g, n=count: g * n),
            (f"1/N = 1/{count}", lambda g, n=count: g / n),
            (f"-1/N = -1/{count}", lambda g, n=count: -g / n),
        )
    ]


def rearrangement_bugs() -> list[Planted]:
    cases = [
        ("square", "weight", "transposed", lambda g: g.t(), ("transposed",)),
        ("square", "weight", "transposed and doubled", lambda g: 2 * g.t(), ("transposed",)),
        ("linear", "weight", "transposed and misread", lambda g: g.t().reshape(g.shape), ("transposed",)),
        ("conv2d", "weight", "kernel transposed", lambda g: g.transpose(2, 3), ("transposed",)),
        ("conv2d", "weight", "kernel flipped", lambda g: g.flip(2, 3), ("rearranged",)),
        ("conv1d", "weight", "kernel flipped", lambda g: g.flip(2), ("rearranged",)),
        ("scale", "weight", "shifted by one", rolled, ("rearranged",)),
        ("linear", "weight", "summed and broadcast", lambda g: g.sum(0, keepdim=True).expand_as(g), ("broadcast sum",)),
        ("linear", "bias", "summed and broadcast", lambda g: g.sum().expand_as(g), ("broadcast sum",)),
        ("conv1d", "bias", "summed and broadcast", lambda g: g.sum().expand_as(g), ("broadcast sum",)),
        ("scale", "weight", "averaged and broadcast", mean_over_first, ("broadcast sum",)),
        ("linear", "weight", "weight decay added", None, ("term",)),
    ]
    bugs = []
    for name, argument, what, spoil, kinds in cases:
        if spoil is None:
            _, names, shapes = LAYERS[name]
            value = dict(zip(names, draws(*shapes), strict=True))[argument]
            spoil = lambda g, v=value: g + 0.1 * v  # noqa: E731
        bugs.append(Planted(f"{name} {argument}: {what}", layer(name, argument, spoil), (argument,), kinds))
    return bugs


def slice_bugs() -> list[Planted]:
    def one(name: str, argument: str, dim: int, index: int, what: str, spoil: Spoil) -> Planted:
        return Planted(
            f"{name} {argument}: {what} at {index} of dimension {dim}",
            layer(name, argument, in_slice(dim, index, spoil)),
            (argument,),
            ("slice",),
            lambda place: place[dim] == index,
        )

    def entry(name: str, argument: str, where: tuple[int, ...], what: str, spoil: Spoil) -> Planted:
        return Planted(
            f"{name} {argument}: {what} at {where}",
            layer(name, argument, at_entry(where, spoil)),
            (argument,),
            ("slice",),
            lambda place: place == where,
        )

    return [
        one("linear", "weight", 0, 2, "factor 2", lambda g: 2 * g),
        one("linear", "weight", 1, 4, "zero", lambda g: 0 * g),
        one("linear", "input", 0, 5, "sign", lambda g: -g),
        one("conv1d", "weight", 2, 0, "zero", lambda g: 0 * g),
        one("conv2d", "weight", 0, 3, "factor 1/2", lambda g: g / 2),
        one("conv2d", "input", 3, 4, "zero", lambda g: 0 * g),
        one("bilinear", "v", 0, 6, "sign and factor 3", lambda g: -3 * g),
        entry("linear", "weight", (3, 0), "factor 1.001", lambda g: 1.001 * g),
        entry("scale", "bias", (7,), "zero", lambda g: 0 * g),
        entry("conv1d", "weight", (4, 1, 2), "sign", lambda g: -g),
        entry("square", "input", (6, 4), "factor 2", lambda g: 2 * g),
    ]


class SpoiledLinear(nn.Linear):
    def __init__(self, inputs: int, outputs: int, argument: int, spoil: Spoil) -> None:
        super().__init__(inputs, outputs)
        self.function = spoiled(F.linear, argument, spoil)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight, self.bias)


def net_bugs() -> list[Planted]:
    """In the middle of a module with a loss: parameters by their own names; what stands before suffers with the input."""

    def net(argument: int, spoil: Spoil) -> Subject:
        generator = torch.Generator().manual_seed(3)
        module = nn.Sequential(
            nn.Linear(5, 6), nn.Tanh(), SpoiledLinear(6, 4, argument, spoil), nn.Sigmoid(), nn.Linear(4, 3)
        )
        module = module.double()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        x, target = draws((9, 5), (9, 3), seed=5)
        return module_subject(module, [x], loss=F.mse_loss, target=target, name="net")

    before = ("0.weight", "0.bias", "input")
    return [
        Planted("net: weight factor 2", net(1, lambda g: 2 * g), ("2.weight",), ("factor",)),
        Planted("net: weight averaged once more", net(1, lambda g: g / 9), ("2.weight",), ("mean against sum",)),
        Planted("net: bias sign", net(2, lambda g: -g), ("2.bias",), ("sign",)),
        Planted("net: bias detached", net(2, lambda g: 0 * g), ("2.bias",), ("detached",)),
        Planted("net: input factor 2", net(0, lambda g: 2 * g), before, ("factor",)),
        Planted("net: input sign", net(0, lambda g: -g), before, ("sign",)),
        Planted("net: input detached", net(0, lambda g: 0 * g), before, ("detached",)),
        Planted(
            "net: one unit's weights",
            net(1, in_slice(0, 1, lambda g: 2 * g)),
            ("2.weight",),
            ("slice",),
            lambda place: place[0] == 1,
        ),
        Planted(
            "net: a unit's upstream lost",
            net(0, in_slice(1, 3, lambda g: 0 * g)),
            before,
            ("slice",),
            lambda p: p[0] == 3,
        ),
    ]


def by_hand(
    name: str,
    forward: Forward,
    backward: Callable[..., Tensor | tuple[Tensor, ...]],
    shapes: tuple[tuple[int, ...], ...],
    wrong: tuple[str, ...],
    kinds: tuple[str, ...],
) -> Planted:
    """A function with a backward of its own: `backward(upstream, *tensors)`."""
    names = ("x", "y", "z")[: len(shapes)]

    class ByHand(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.save_for_backward(*tensors)
            return forward(*tensors)

        @staticmethod
        def backward(ctx, upstream):
            return backward(upstream, *ctx.saved_tensors)

    point = dict(zip(names, draws(*shapes, seed=1), strict=True))
    subject = Subject(name, lambda tensors: ByHand.apply(*(tensors[key] for key in names)), point)
    return Planted(name, subject, wrong, kinds)


def softmax(x: Tensor) -> Tensor:
    e = torch.exp(x)
    return e / e.sum(1, keepdim=True)


def normed(x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(1, keepdim=True) + 1e-5)


def tied(x: Tensor, y: Tensor) -> Tensor:
    return torch.tanh(x @ y.t()) @ y


def tied_decoder_only(upstream: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    hidden = torch.tanh(x @ y.t())
    local = (upstream @ y.t()) * (1 - hidden**2)
    return local @ y, hidden.t() @ upstream


def unrolled(x: Tensor, y: Tensor) -> Tensor:
    state = torch.tanh(x @ y)
    state = torch.tanh(state @ y)
    return torch.tanh(state @ y)


def unrolled_two_steps(upstream: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Backpropagation through time that stops one step early."""
    first = torch.tanh(x @ y)
    second = torch.tanh(first @ y)
    third = torch.tanh(second @ y)
    d3 = upstream * (1 - third**2)
    d2 = (d3 @ y.t()) * (1 - second**2)
    d1 = (d2 @ y.t()) * (1 - first**2)
    return d1 @ y.t(), second.t() @ d3 + first.t() @ d2


def norm_backward(upstream: Tensor, x: Tensor, *, mean: bool, variance: bool) -> Tensor:
    y = normed(x)
    scale = 1 / torch.sqrt(x.var(1, correction=0, keepdim=True) + 1e-5)
    gradient = upstream.clone()
    if mean:
        gradient = gradient - upstream.mean(1, keepdim=True)
    if variance:
        gradient = gradient - y * (upstream * y).mean(1, keepdim=True)
    return gradient * scale


def term_bugs() -> list[Planted]:
    missing, doubled = ("missing term",), ("doubled term",)
    return [
        by_hand("softmax without its sum", softmax, lambda g, x: g * softmax(x), ((4, 6),), ("x",), missing),
        by_hand(
            "norm without the variance",
            normed,
            lambda g, x: norm_backward(g, x, mean=True, variance=False),
            ((4, 6),),
            ("x",),
            missing,
        ),
        by_hand(
            "norm without the mean",
            normed,
            lambda g, x: norm_backward(g, x, mean=False, variance=True),
            ((4, 6),),
            ("x",),
            missing,
        ),
        by_hand(
            "product rule by half",
            lambda x: x * torch.sin(x),
            lambda g, x: g * torch.sin(x),
            ((3, 5),),
            ("x",),
            missing,
        ),
        by_hand(
            "product's term twice",
            lambda x: x * torch.sin(x),
            lambda g, x: g * (torch.sin(x) + 2 * x * torch.cos(x)),
            ((3, 5),),
            ("x",),
            doubled,
        ),
        by_hand(
            "residual without identity",
            lambda x: x + torch.tanh(x),
            lambda g, x: g * (1 - torch.tanh(x) ** 2),
            ((4, 4),),
            ("x",),
            missing,
        ),
        by_hand(
            "identity counted twice",
            lambda x: x + torch.tanh(x),
            lambda g, x: g * (3 - torch.tanh(x) ** 2),
            ((4, 4),),
            ("x",),
            doubled,
        ),
        by_hand(
            "quotient's sign",
            lambda x: torch.sin(x) / (x**2 + 1),
            lambda g, x: g * (torch.cos(x) / (x**2 + 1) + torch.sin(x) * 2 * x / (x**2 + 1) ** 2),
            ((3, 5),),
            ("x",),
            ("term",),
        ),
        by_hand("tied weights counted once", tied, tied_decoder_only, ((6, 5), (3, 5)), ("y",), missing),
        by_hand("time stops early", unrolled, unrolled_two_steps, ((5, 4), (4, 4)), ("y",), missing),
        by_hand(
            "bias from the first row only",
            lambda x, y: x + y,
            lambda g, x, y: (g, g[0]),
            ((5, 8), (8,)),
            ("y",),
            missing,
        ),
        by_hand(
            "bias without the last row",
            lambda x, y: x * y,
            lambda g, x, y: (g * y, (g * x)[:-1].sum(0)),
            ((5, 8), (8,)),
            ("y",),
            missing,
        ),
        by_hand(
            "upstream ignored",
            torch.tanh,
            lambda g, x: 1 - torch.tanh(x) ** 2,
            ((4, 5),),
            ("x",),
            ("upstream ignored",),
        ),
        by_hand(
            "upstream of a loss ignored",
            lambda x: (x**2).sum(),
            lambda g, x: 2 * x,
            ((4, 5),),
            ("x",),
            ("upstream ignored",),
        ),
        by_hand(
            "slope of the input for the output",
            torch.tanh,
            lambda g, x: g * (1 - x**2),
            ((4, 5),),
            ("x",),
            ("unknown",),
        ),
        by_hand(
            "relu's mask lost", lambda x: torch.relu(x - 0.1), lambda g, x: g, ((4, 5),), ("x",), ("flat", "unknown")
        ),
        by_hand("nan", torch.tanh, lambda g, x: g * torch.log(x), ((4, 5),), ("x",), ("not finite",)),
    ]


def detached_bugs() -> list[Planted]:
    (x,) = draws((4, 5), seed=2)
    return [
        Planted(
            "a factor detached",
            function_subject(lambda x: x.detach() * torch.sin(x), [x], name="detached factor"),
            ("x",),
            ("detached",),
        ),
        Planted(
            "the normaliser detached",
            function_subject(
                lambda x: torch.exp(x) / torch.exp(x).sum(1, keepdim=True).detach(), [x], name="detached sum"
            ),
            ("x",),
            ("detached",),
        ),
        Planted("rounded", function_subject(lambda x: Rounded.apply(x), [x], name="rounded"), ("x",), ("flat",)),
    ]


class Rounded(torch.autograd.Function):
    """A straight-through estimate: forward rounds, backward pretends it did not."""

    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, upstream):
        return upstream


BANK = [
    *whole_tensor_bugs(),
    *size_bugs(),
    *rearrangement_bugs(),
    *slice_bugs(),
    *net_bugs(),
    *term_bugs(),
    *detached_bugs(),
]
