"""Convolutions, pools and norms over positions: the batched kernels against PyTorch's modules, autograd and the plain loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import pytest
import torch
from problems import runs_of, trained
from torch import Tensor
from torch.func import functional_call

from nnlab.engine.arrays import padded_zeros
from nnlab.engine.kernels.site import Kernel, Weights
from nnlab.engine.kernels.table import kernels_of, running_statistics
from nnlab.engine.modules import module_of
from nnlab.networks.layers import Layer, Norm, parameters
from nnlab.networks.spatial_layers import Conv, Pool

CPU: Final = torch.device("cpu")
RUNS: Final = 3
ROWS: Final = 5
# PyTorch adds the products of a window in another order; a few units in the last place of sums of up to 100 terms.
CLOSE: Final = {"rtol": 1e-12, "atol": 1e-12}


def conv(*inputs: int, outputs: int = 4, kernel: int = 3, stride: int = 1, padding: int = 0, bias: bool = True) -> Conv:
    dims = len(inputs) - 1
    return Conv(inputs, outputs, (kernel,) * dims, (stride,) * dims, (padding,) * dims, bias=bias)


def pool(*inputs: int, over: Literal["max", "mean"] = "max", kernel: int = 2, stride: int = 2) -> Pool:
    dims = len(inputs) - 1
    return Pool(inputs, over, (kernel,) * dims, (stride,) * dims)


CONVOLUTIONS: Final = {
    "plain": conv(3, 11),
    "a kernel of one": conv(3, 7, kernel=1),
    "as long as the row": conv(2, 5, kernel=5),
    "stride": conv(3, 19, kernel=3, stride=2, padding=1),
    "a stride that leaves the end out": conv(3, 10, kernel=3, stride=2, padding=1),
    "a stride longer than the kernel": conv(2, 13, kernel=2, stride=3, padding=1),
    "more padding than the row has steps": conv(2, 3, kernel=5, padding=4),
    "padding that some places see alone": conv(2, 1, kernel=3, padding=1),
    "one channel to one": conv(1, 9, outputs=1, bias=False),
    "many channels": conv(25, 10, outputs=25, stride=2, padding=1),
    "image": conv(2, 6, 7),
    "image, stride and padding": conv(2, 7, 6, kernel=3, stride=2, padding=1),
    "image, a stride longer than the kernel": conv(2, 9, 8, kernel=2, stride=3, padding=2),
    "image, no square": Conv((2, 6, 9), 3, kernel=(2, 4), stride=(1, 3), padding=(0, 2)),
}
POOLS: Final = {
    f"{over}, {name}": pool(*inputs, over=over, kernel=kernel, stride=stride)
    for over in ("max", "mean")
    for name, inputs, kernel, stride in [
        ("plain", (3, 8), 2, 2),
        ("a step left over", (3, 9), 2, 2),
        ("overlapping", (3, 9), 3, 2),
        ("overlapping all", (2, 7), 3, 1),
        ("gaps", (2, 10), 2, 3),
        ("of one", (2, 4), 1, 1),
        ("image", (2, 4, 6), 2, 2),
        ("image, overlapping", (2, 5, 7), 3, 2),
        ("image, left over", (2, 5, 7), 2, 2),
    ]
}
NORMS: Final = {
    "batch": Norm("batch", 6),
    "batch over positions": Norm("batch", 3, positions=7),
    "group": Norm("group", 6, positions=5, groups=3),
    "one group": Norm("group", 4, positions=5),
    "a channel a group": Norm("group", 4, positions=5, groups=4),
    "layer": Norm("layer", 9),
}
LAYERS: Final = CONVOLUTIONS | POOLS | NORMS


def size_of(layer: Layer) -> int:
    """Features of a row that the layer takes."""
    match layer:
        case Norm(_, channels, positions):
            return channels * positions
        case Conv(inputs) | Pool(inputs):
            return int(torch.tensor(inputs).prod())
    raise TypeError(layer)


def random_weights(layer: Layer, *, fused: bool = False) -> Weights:
    """Weights of every run, drawn once; gradients apart."""
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> Tensor:
        values = torch.randn(RUNS, *shape, generator=generator, dtype=torch.float64)
        return padded_zeros(RUNS, *shape, dtype=torch.float64, device=CPU).copy_(values)

    named = {parameter.name: drawn(*parameter.shape) for parameter in parameters((layer,))}
    gradients = named if fused else {name: drawn(*value.shape[1:]) for name, value in named.items()}
    return Weights(named, gradients, running_statistics(named, (layer,)), fused)


def kernel_of(layer: Layer, weights: Weights) -> Kernel:
    """As it stands behind other layers, so that it gives its input's gradient: the second, with the first's name."""
    (kernel,) = kernels_of((layer,), weights, ROWS, lambda x, _: x)
    if isinstance(layer, Conv):
        kernel.first = False
    return kernel


def inputs_of(layer: Layer, *, whole: bool = False) -> Tensor:
    """[R, D, B] of normal numbers, or of few whole ones, so that windows have ties."""
    generator = torch.Generator().manual_seed(4)
    x = padded_zeros(RUNS, size_of(layer), ROWS, dtype=torch.float64, device=CPU)
    if whole:
        return x.copy_(torch.randint(0, 3, x.shape, generator=generator))
    return x.copy_(torch.randn(x.shape, generator=generator, dtype=torch.float64))


def by_torch(
    layer: Layer, weights: Mapping[str, Tensor], x_DB: Tensor, d_HB: Tensor | None = None
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The output of PyTorch's module for one run, and the gradients by its input and its parameters; d_HB is the output's."""
    module = module_of((layer,), torch.Generator()).double()
    x = x_DB.T.clone().requires_grad_()
    named = {name: value.clone().requires_grad_() for name, value in weights.items()}
    out = functional_call(module, named, (x,))
    upstream = torch.ones_like(out) if d_HB is None else d_HB.T
    dx, *slopes = torch.autograd.grad(out, [x, *named.values()], upstream)
    return out.detach().T, dx.T, dict(zip(named, slopes, strict=True))


def upstream_of(h: Tensor) -> Tensor:
    """A gradient in the layout of h."""
    generator = torch.Generator().manual_seed(5)
    return h.clone(memory_format=torch.preserve_format).copy_(
        torch.randn(h.shape, generator=generator, dtype=torch.float64)
    )


def padded_copy(x: Tensor) -> Tensor:
    return padded_zeros(*x.shape, dtype=x.dtype, device=CPU).copy_(x)


@pytest.mark.parametrize("name", LAYERS)
def test_forward_and_backward_equal_pytorch_and_its_autograd(name):
    layer = LAYERS[name]
    weights = random_weights(layer)
    kernel, x = kernel_of(layer, weights), inputs_of(layer)
    for _ in range(2):  # buffers are used again: a second pass must not see the first
        h = kernel.forward(x, training=True).clone()
        d = upstream_of(h)
        dx = kernel.backward(padded_copy(d))
    for run in range(RUNS):
        own = {name: value[run] for name, value in weights.parameters.items()}
        wanted_h, wanted_dx, slopes = by_torch(layer, own, x[run], d[run])
        torch.testing.assert_close(h[run], wanted_h, **CLOSE)
        torch.testing.assert_close(dx[run], wanted_dx, **CLOSE)
        for name, slope in slopes.items():
            torch.testing.assert_close(weights.gradients[name][run], slope, **CLOSE)


@pytest.mark.parametrize("name", POOLS)
def test_of_equal_values_in_a_window_the_same_one_has_the_gradient_as_in_pytorch(name):
    layer = POOLS[name]
    kernel, x = kernel_of(layer, random_weights(layer)), inputs_of(layer, whole=True)
    h = kernel.forward(x, training=True).clone()
    d = upstream_of(h)
    dx = kernel.backward(padded_copy(d))
    for run in range(RUNS):
        wanted_h, wanted_dx, _ = by_torch(layer, {}, x[run], d[run])
        torch.testing.assert_close(h[run], wanted_h, **CLOSE)
        torch.testing.assert_close(dx[run], wanted_dx, **CLOSE)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_rows_shared_by_all_runs_give_what_a_copy_for_each_gives(name):
    layer = CONVOLUTIONS[name]
    x = inputs_of(layer)[:1].expand(RUNS, -1, -1)
    found = []
    for rows in (x, padded_copy(x)):
        weights = random_weights(layer)
        (kernel,) = kernels_of((layer,), weights, ROWS, lambda x, _: x)
        h = kernel.forward(rows, training=True).clone()
        kernel.backward(padded_copy(upstream_of(h)))
        found.append([h, *weights.gradients.values()])
    for shared, own in zip(*found, strict=True):
        assert torch.equal(shared, own)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_fused_step_adds_the_gradient_to_the_weights_themselves(name):
    layer = CONVOLUTIONS[name]
    apart, fused = random_weights(layer), random_weights(layer, fused=True)
    x, found = inputs_of(layer), []
    for weights in (apart, fused):
        kernel = kernel_of(layer, weights)
        h = kernel.forward(x, training=True).clone()
        found.append((h, kernel.backward(padded_copy(upstream_of(h))).clone()))
    assert torch.equal(found[0][1], found[1][1])  # by the weights before the step
    for name, value in apart.parameters.items():
        torch.testing.assert_close(fused.parameters[name], value + apart.gradients[name], **CLOSE)


def test_batch_norm_over_positions_remembers_and_uses_the_statistics_that_pytorch_does():
    layer = Norm("batch", 3, positions=4)
    weights = random_weights(layer)
    kernel, x = kernel_of(layer, weights), inputs_of(layer)
    module = module_of((layer,), torch.Generator()).double()
    module.load_state_dict({name: value[1] for name, value in weights.parameters.items()}, strict=False)
    kernel.forward(x, training=True)
    module(x[1].T)
    for name, value in weights.buffers.items():
        torch.testing.assert_close(value[1], module.state_dict()[name], **CLOSE)
    torch.testing.assert_close(kernel.forward(x, training=False)[1].T, module.eval()(x[1].T), **CLOSE)


SERIES: Final = "blobs:samples=75:std=3:features=21:classes=4"
IMAGES: Final = "digits:image=true"
# Small nets of every kind; 45 rows in batches of 16 end in a short one of 13. A shift before a norm has gradient 0, whose rounding
# adam would see: no biases there.
NETS: Final = [
    (SERIES, "cnn_mnist1d", "adam:eps=1e-4"),
    (SERIES, "conv1d:channels=3x4", "sgd"),
    (SERIES, "conv1d:channels=3x4:kernel=3:stride=2:padding=1:pool=none:hidden=6x5", "sgd:momentum=0.9"),
    (SERIES, "conv1d:channels=4x4:kernel=3:padding=1:pool=mean:residual=true", "rmsprop:eps=1e-4"),
    (SERIES, "conv1d:channels=3x5:pool_size=3:norm=batch:bias=false", "adam:eps=1e-4"),
    (
        SERIES,
        "conv1d:channels=4x6:norm=group:groups=2:dropout=0.2:hidden=7:bias=false",
        "adamw:eps=1e-4:weight_decay=0.1",
    ),
    (SERIES, "conv1d:channels=1:kernel=4:stride=3:padding=0", "sgd"),
    (SERIES, "conv1d:channels=4x4x4:kernel=3:padding=1:residual=true:norm=batch:pool=none:bias=false", "sgd"),
    (IMAGES, "conv2d:channels=3x4", "sgd"),
    (IMAGES, "conv2d:channels=3x3:stride=1:padding=1:norm=group:groups=3:residual=true:bias=false", "adam:eps=1e-4"),
    (IMAGES, "conv2d:channels=2x3:norm=batch:dropout=0.3:pool=mean:bias=false", "sgd:momentum=0.9"),
    (IMAGES, "lenet", "adam:eps=1e-4"),
]


def furthest(settings: Mapping[str, object]) -> float:
    """The largest difference of a parameter, statistic or loss between the engines, relative to the tensor's largest."""
    runs = runs_of(settings, seeds=[1, 2])
    native, loop = trained(runs), trained(runs, engine="loop")
    found = []
    for run in runs:
        one, other = native[run.run_id], loop[run.run_id]
        assert one.weights is not None
        assert other.weights is not None
        for name, value in one.weights.items():
            scale = max(other.weights[name].abs().max().item(), 1.0 if "running" in name else 1e-300)
            found.append((value - other.weights[name]).abs().max().item() / scale)
        for name, values in other.record.curves.items():
            pairs = zip(one.record.curves[name], values, strict=True)
            found += [abs(a - b) / (abs(b) or 1.0) for a, b in pairs if b == b]
    return max(found)


@pytest.mark.parametrize(("data", "model", "optimizer"), NETS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_convolutional_networks_train_as_the_plain_loop_does(data, model, optimizer, activation):
    settings = {
        "data": data,
        "model": model,
        "optimizer": optimizer,
        "activation": activation,
        "dtype": "float64",
        "lr": 0.01,
        "steps": 4,
        "batch_size": 16,
        "validation": 0.2,
        "test": 0.2 if data == SERIES else 0.77,
    }
    # Four steps: rounding reaches 3e-13 (behind a norm of few numbers), a wrong term at least 1e-8.
    assert furthest(settings) < 1e-12


@pytest.mark.parametrize(
    "extra", [{"clip_norm": 0.05}, {"init": "lsuv"}, {"average": "ema:decay=0.5"}, {"batch_size": "full"}], ids=str
)
def test_a_convolutional_network_goes_with_everything_else(extra):
    settings = {
        "data": SERIES,
        "model": "conv1d:channels=3x4:norm=group",
        "dtype": "float64",
        "steps": 5,
        "batch_size": 16,
    }
    assert furthest({**settings, **extra}) < 1e-12
