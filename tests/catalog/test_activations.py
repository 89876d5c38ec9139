"""Activations and their hand-written slopes, compared with torch.nn and torch.autograd."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import integrate, stats

from nnlab.catalog.activations import ACTIVATIONS
from nnlab.catalog.entry import key_values
from nnlab.core.errors import UsageError
from nnlab.core.spec import parse_spec

SPECS = (
    *ACTIVATIONS,
    "leaky_relu:negative_slope=0.3",
    "leaky_relu:negative_slope=0",
    "elu:alpha=0.7",
    "gelu:approximate=tanh",
    "softplus:beta=2.5:threshold=1",
    "hardtanh:min_val=-0.5:max_val=2",
)
KINKS = (0.0, -0.0, 1.0, -1.0, -0.5, 2.0, 0.4, 30.0, -30.0)


def entry_and_values(text):
    spec = parse_spec(text, what="--activation")
    entry = ACTIVATIONS[spec.name]
    return entry, key_values(entry.function, spec, what="--activation")


def points(dtype=torch.float64):
    z = 3.0 * torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.cat([z.flatten(), torch.tensor(KINKS, dtype=torch.float64)]).to(dtype)


def slope_at(entry, values, z):
    return entry.slope(entry.function(z, **values) if entry.slope_of == "output" else z, **values)


@pytest.mark.parametrize("text", [text for text in SPECS if text != "step"])
def test_value_and_slope_are_those_of_the_torch_class_also_at_kinks(text):
    entry, values = entry_and_values(text)
    z = points().requires_grad_()
    h = getattr(torch.nn, entry.torch_class)(**values)(z)
    (slope,) = torch.autograd.grad(h.sum(), z)
    torch.testing.assert_close(entry.function(z.detach(), **values), h.detach(), rtol=0.0, atol=0.0)
    # atol: a slope computed from the output loses what 1 - h^2 cancels, a few units in the last place of 1.
    torch.testing.assert_close(slope_at(entry, values, z.detach()), slope, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("text", SPECS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_value_and_slope_keep_shape_and_dtype(text, dtype):
    entry, values = entry_and_values(text)
    z = points(dtype).view(3, -1, 1)
    for result in (entry.function(z, **values), slope_at(entry, values, z)):
        assert result.shape == z.shape
        assert result.dtype == dtype


@pytest.mark.parametrize("name", [name for name, entry in ACTIVATIONS.items() if entry.in_place])
def test_the_in_place_function_gives_the_same_bits_in_the_same_memory(name):
    entry, z = ACTIVATIONS[name], points()
    expected = entry.function(z)
    result = getattr(torch, entry.in_place)(z)
    assert result.data_ptr() == z.data_ptr()
    assert torch.equal(result, expected)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_slope_is_a_tensor_of_its_own(name):
    entry, z = ACTIVATIONS[name], points()
    h = entry.function(z).clone()
    kept = h if entry.slope_of == "output" else z
    before = kept.clone()
    entry.slope(kept).zero_()
    assert torch.equal(kept, before)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_called_bounded_if_and_only_if_it_is(name):
    entry = ACTIVATIONS[name]
    far = entry.function(torch.tensor([-1e6, 1e6], dtype=torch.float64))
    assert entry.bounded == bool(far.abs().max() <= 1.0)


def test_step_passes_only_what_is_above_its_threshold_and_has_no_slope():
    z = torch.tensor([-1.0, 0.0, 1e-300, 2.0], dtype=torch.float64)
    assert ACTIVATIONS["step"].function(z).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert not ACTIVATIONS["step"].slope(z).any()


@pytest.mark.parametrize(
    ("text", "nonlinearity", "param"),
    [
        ("identity", "linear", None),
        ("relu", "relu", None),
        ("leaky_relu", "leaky_relu", None),
        ("leaky_relu:negative_slope=0.2", "leaky_relu", 0.2),
        ("tanh", "tanh", None),
        ("sigmoid", "sigmoid", None),
        ("selu", "selu", None),
    ],
)
def test_gain_is_pytorchs_where_pytorch_has_one(text, nonlinearity, param):
    entry, values = entry_and_values(text)
    assert entry.gain(**values) == pytest.approx(torch.nn.init.calculate_gain(nonlinearity, param), rel=1e-15)


@pytest.mark.parametrize("text", ["elu", "gelu", "silu", "softplus", "softsign", "hardtanh", "step", "elu:alpha=0.7"])
def test_the_other_gains_keep_the_second_moment_of_a_standard_normal(text):
    entry, values = entry_and_values(text)

    def integrand(z):
        return stats.norm.pdf(z) * float(entry.function(torch.tensor(z, dtype=torch.float64), **values)) ** 2

    moment = integrate.quad(integrand, -10, 10, points=(-1.0, 0.0, 1.0), limit=200)[0]
    # The midpoint rule's own error with steps of 0.001 is h^2 / 24 times the jump of the integrand's slope.
    assert entry.gain(**values) == pytest.approx(1.0 / math.sqrt(moment), rel=1e-6)


def test_a_step_units_gain_repays_the_half_that_it_removes():
    assert ACTIVATIONS["step"].gain() == pytest.approx(math.sqrt(2.0), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "says"), [("gelu:approximate=erf", "none or tanh"), ("hardtanh:min_val=2", "min_val below max_val")]
)
def test_values_that_make_no_function_are_refused_in_words(text, says):
    entry, values = entry_and_values(text)
    with pytest.raises(UsageError, match=says):
        entry.function(torch.zeros(1), **values)


@pytest.mark.parametrize("name", [name for name, row in ACTIVATIONS.items() if row.is_threshold])
def test_the_slope_of_a_threshold_is_that_of_pytorchs_kernel(name):
    z = torch.tensor([-2.0, -0.0, 0.0, 1e-30, 3.0], dtype=torch.float64)
    h = ACTIVATIONS[name].function(z)
    gradient = torch.full_like(z, 7.0)
    passed = torch.ops.aten.threshold_backward(gradient, h, 0)
    assert torch.equal(passed, gradient * ACTIVATIONS[name].slope(h))
