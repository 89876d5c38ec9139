"""Initialisations, compared with torch.nn.init, with their moments and distributions, and with PyTorch's own layers."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from nnlab.catalog.activations import ACTIVATIONS
from nnlab.catalog.entry import key_values
from nnlab.catalog.inits import INITS, fans, resolve_gain
from nnlab.core.errors import UsageError
from nnlab.core.spec import parse_spec

SPECS = (
    *INITS,
    "constant:val=-0.5",
    "uniform:a=-0.2:b=0.1",
    "normal:mean=0.3:std=0.5",
    "truncated_normal:mean=1:std=2:a=-2:b=2",
    "xavier_uniform:gain=2",
    "kaiming_uniform:mode=fan_out",
    "kaiming_normal:gain=1:mode=fan_out",
    "orthogonal:gain=1.5",
    "sparse:sparsity=0.25:std=1",
)
DRAWN = tuple(text for text in SPECS if not INITS[text.partition(":")[0]].deterministic)
SHAPES = ((60, 40), (40, 60), (20, 10, 5), (12, 8, 3, 3))
# A sample of 2400 draws: one Kolmogorov-Smirnov test in ten thousand fails although the distribution is right.
LEAST_P = 1e-4


def init_and_values(text):
    spec = parse_spec(text, what="--init")
    init = INITS[spec.name]
    return init, key_values(init.function, spec, what="--init")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(text, shape, seed=0):
    init, values = init_and_values(text)
    return init.function(shape, generator=generator(seed), **values)


def empty(shape):
    return torch.empty(shape, dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_fans_are_those_of_pytorch(shape):
    assert fans(shape) == torch.nn.init._calculate_fan_in_and_fan_out(empty(shape))


@pytest.mark.parametrize("text", SPECS)
@pytest.mark.parametrize("shape", SHAPES)
def test_weights_have_the_shape_asked_for_in_float64_and_depend_on_the_generator_alone(text, shape):
    weights = drawn(text, shape, seed=4)
    assert (weights.shape, weights.dtype, weights.device.type) == (shape, torch.float64, "cpu")
    state = torch.get_rng_state()
    assert torch.equal(weights, drawn(text, shape, seed=4))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(weights, drawn(text, shape, seed=5)) == init_and_values(text)[0].deterministic


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("text", "fill"),
    [
        ("zeros", lambda w, _: torch.nn.init.zeros_(w)),
        ("constant:val=-0.5", lambda w, _: torch.nn.init.constant_(w, -0.5)),
        ("uniform:a=-0.2:b=0.1", lambda w, g: torch.nn.init.uniform_(w, -0.2, 0.1, generator=g)),
        ("normal:mean=0.3:std=0.5", lambda w, g: torch.nn.init.normal_(w, 0.3, 0.5, generator=g)),
        ("xavier_uniform:gain=2", lambda w, g: torch.nn.init.xavier_uniform_(w, 2.0, generator=g)),
        ("xavier_normal", lambda w, g: torch.nn.init.xavier_normal_(w, generator=g)),
        ("kaiming_uniform", lambda w, g: torch.nn.init.kaiming_uniform_(w, nonlinearity="relu", generator=g)),
        ("kaiming_normal", lambda w, g: torch.nn.init.kaiming_normal_(w, nonlinearity="relu", generator=g)),
        (
            "kaiming_normal:gain=1:mode=fan_out",
            lambda w, g: torch.nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="linear", generator=g),
        ),
        ("lecun_normal", lambda w, g: torch.nn.init.kaiming_normal_(w, nonlinearity="linear", generator=g)),
        ("torch_default", lambda w, g: torch.nn.init.kaiming_uniform_(w, a=math.sqrt(5), generator=g)),
    ],
)
def test_draws_are_pytorchs_own_from_the_same_generator(text, fill, shape):
    # A few units in the last place: the same draws, scaled in another order.
    torch.testing.assert_close(drawn(text, shape), fill(empty(shape), generator()), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("text", DRAWN)
def test_moments_are_the_stated_ones(text):
    init, values = init_and_values(text)
    shape = (400, 300)
    weights = init.function(shape, generator=generator(1), **values)
    variance, n = init.variance(shape, **values), math.prod(shape)
    mean = {
        "uniform": (values.get("a", 0.0) + values.get("b", 0.0)) / 2,
        "normal": values.get("mean", 0.0),
        "other": 0.0,
    }.get(init.law)
    if mean is not None:
        assert abs(float(weights.mean()) - mean) < 4.0 * math.sqrt(variance / n)
    # The sample variance's own deviation is at most sqrt((kurtosis - 1) / n); sparse:0.9 has the highest kurtosis, 30.
    assert float(weights.var()) == pytest.approx(variance, rel=4.0 * math.sqrt(29.0 / n))


@pytest.mark.parametrize("shape", [(60, 40), (24, 20, 5)])
@pytest.mark.parametrize("text", [t for t in DRAWN if init_and_values(t)[0].law in ("uniform", "normal")])
def test_draws_pass_kolmogorov_smirnov_against_their_law(text, shape):
    init, values = init_and_values(text)
    spread = math.sqrt(init.variance(shape, **values))
    if init.law == "normal":
        law = stats.norm(values.get("mean", 0.0), spread)
    else:
        low = values.get("a", -math.sqrt(3.0) * spread)
        law = stats.uniform(low, math.sqrt(12.0) * spread)
    weights = init.function(shape, generator=generator(2), **values)
    assert stats.kstest(weights.flatten().numpy(), law.cdf).pvalue > LEAST_P


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"), [(0.0, 1.0, -2.0, 2.0), (1.0, 2.0, -2.0, 2.0), (0.0, 0.02, -2.0, 2.0)]
)
def test_truncated_normal_has_scipys_law_and_variance_and_stays_within_its_ends(mean, std, a, b):
    init = INITS["truncated_normal"]
    law = stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    weights = init.function((60, 40), mean=mean, std=std, a=a, b=b, generator=generator(3)).flatten()
    assert stats.kstest(weights.numpy(), law.cdf).pvalue > LEAST_P
    assert init.variance((60, 40), mean=mean, std=std, a=a, b=b) == pytest.approx(law.var(), rel=1e-9)
    assert a <= float(weights.min()) <= float(weights.max()) <= b


# I5, I6: Xavier and Kaiming, as in the papers.


@pytest.mark.parametrize("shape", SHAPES)
def test_xavier_is_uniform_within_exactly_sqrt_6_over_sqrt_n_in_plus_n_out(shape):
    fan_in, fan_out = fans(shape)
    bound = math.sqrt(6.0) / math.sqrt(fan_in + fan_out)
    weights = drawn("xavier_uniform", shape, seed=6).flatten()
    # The largest of n uniform draws is within a fraction 10 / n of the bound, except once in e^10.
    assert bound * (1.0 - 10.0 / len(weights)) < float(weights.abs().max()) <= bound * (1.0 + 1e-15)
    assert stats.kstest(weights.numpy(), stats.uniform(-bound, 2.0 * bound).cdf).pvalue > LEAST_P


@pytest.mark.parametrize("shape", SHAPES)
def test_kaiming_is_a_standard_normal_times_sqrt_2_over_sqrt_n_in(shape):
    standard = torch.randn(shape, generator=generator(7), dtype=torch.float64)
    expected = standard * math.sqrt(2.0) / math.sqrt(fans(shape)[0])
    weights = drawn("kaiming_normal", shape, seed=7)
    torch.testing.assert_close(weights, expected, rtol=1e-12, atol=0.0)
    assert (
        stats.kstest(expected.flatten().numpy(), stats.norm(0.0, math.sqrt(2.0 / fans(shape)[0])).cdf).pvalue > LEAST_P
    )
    assert INITS["kaiming_normal"].bias is None


# I7: PyTorch's defaults by layer.


@pytest.mark.parametrize(
    ("layer", "sizes"),
    [
        (torch.nn.Linear, {"in_features": 40, "out_features": 120}),
        (torch.nn.Conv1d, {"in_channels": 8, "out_channels": 120, "kernel_size": 5}),
        (torch.nn.Conv2d, {"in_channels": 5, "out_channels": 120, "kernel_size": 3}),
    ],
)
def test_torch_default_has_the_law_of_the_layer_itself(layer, sizes):
    with torch.random.fork_rng():
        torch.random.manual_seed(8)
        layers = [layer(**sizes) for _ in range(20)]
    shape, g = tuple(layers[0].weight.shape), generator(9)
    init = INITS["torch_default"]
    ours = [(init.function(shape, generator=g), init.bias(shape, g)) for _ in layers]
    for index, name in enumerate(("weight", "bias")):
        theirs = torch.cat([getattr(made, name).detach().flatten() for made in layers])
        mine = torch.cat([pair[index].flatten() for pair in ours])
        assert ours[0][index].shape == getattr(layers[0], name).shape
        assert stats.ks_2samp(theirs.numpy(), mine.numpy()).pvalue > LEAST_P
        bound = 1.0 / math.sqrt(fans(shape)[0])
        assert float(mine.abs().max()) <= bound * (1.0 + 1e-15)
        assert float(mine.abs().max()) == pytest.approx(bound, rel=0.01)


def test_only_the_laws_of_pytorchs_constructors_draw_biases():
    assert [name for name, init in INITS.items() if init.bias is not None] == ["torch_default", "as_built"]


# Orthogonal, sparse, lsuv.


@pytest.mark.parametrize("name", ["orthogonal", "lsuv"])
@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_weights_have_orthonormal_rows_or_columns(name, shape):
    matrix = drawn(name, shape).reshape(shape[0], -1)
    fewer = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    torch.testing.assert_close(fewer @ fewer.T, torch.eye(len(fewer), dtype=torch.float64), rtol=0.0, atol=1e-13)


def test_orthogonal_matrices_are_uniform_so_that_their_first_entry_is_as_often_negative():
    firsts = torch.stack([drawn("orthogonal", (3, 3), seed=seed)[0, 0] for seed in range(300)])
    # An entry of a uniform rotation of space is uniform on [-1, 1] (Archimedes).
    assert stats.kstest(firsts.numpy(), stats.uniform(-1.0, 2.0).cdf).pvalue > LEAST_P


@pytest.mark.parametrize(("sparsity", "num_zeros"), [(0.0, 0), (0.25, 15), (0.9, 54), (0.33, 20), (1.0, 60)])
def test_sparse_sets_the_same_number_of_weights_of_every_input_to_zero(sparsity, num_zeros):
    weights = INITS["sparse"].function((60, 40), sparsity=sparsity, std=0.5, generator=generator(10))
    assert (weights == 0).sum(0).tolist() == [num_zeros] * 40
    kept = weights[weights != 0]
    if len(kept):
        assert stats.kstest(kept.numpy(), stats.norm(0.0, 0.5).cdf).pvalue > LEAST_P


def test_lsuvs_factor_gives_a_layers_preactivations_unit_variance():
    init = INITS["lsuv"]
    weights = drawn("lsuv", (30, 20))
    x = 3.0 * torch.randn(20, 500, generator=generator(11), dtype=torch.float64)
    factor = init.rescale((weights @ x).std(correction=0))
    assert float((factor * weights @ x).var(correction=0)) == pytest.approx(1.0, rel=1e-12)
    assert init.rescale(torch.tensor([0.0, 4.0])).tolist() == [1.0, 0.25]
    assert [name for name, each in INITS.items() if each.data_dependent] == ["lsuv"]


# Common random numbers and gains.


@pytest.mark.parametrize(
    "family",
    [
        ("normal:std=2", "xavier_normal", "kaiming_normal", "lecun_normal"),
        ("uniform:a=-1:b=1", "xavier_uniform", "kaiming_uniform", "torch_default"),
    ],
)
def test_inits_of_a_family_differ_by_their_scale_alone(family):
    first, *others = (drawn(text, (30, 20), seed=12) for text in family)
    for weights in others:
        ratio = weights / first
        # The uniform family's own zero crossing is a difference, so the smallest draws keep fewer digits.
        torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("text", ["relu", "tanh", "leaky_relu:negative_slope=0.2", "selu"])
def test_gain_auto_follows_the_activation(text):
    init, values = init_and_values("kaiming_normal:gain=auto")
    spec = parse_spec(text, what="--activation")
    param = float(spec.option("negative_slope") or 0.01) if spec.name == "leaky_relu" else None
    resolved = resolve_gain(values, text)
    assert resolved["gain"] == pytest.approx(torch.nn.init.calculate_gain(spec.name, param), rel=1e-15)
    assert resolved["mode"] == "fan_in"
    expected = torch.nn.init.calculate_gain(spec.name, param) ** 2 / 20
    assert init.variance((30, 20), **resolved) == pytest.approx(expected, rel=1e-12)


def test_a_gain_that_is_a_number_stays():
    _, values = init_and_values("orthogonal:gain=1.5")
    assert resolve_gain(values, "tanh") == {"gain": 1.5}
    assert resolve_gain({}, "tanh") == {}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_has_a_gain_to_follow(name):
    assert resolve_gain({"gain": "auto"}, name)["gain"] > 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kaiming_normal:mode=fan", "fan_in or fan_out"),
        ("uniform:a=1:b=0", "a below b"),
        ("truncated_normal:a=2:b=2", "a below b"),
        ("truncated_normal:a=50:b=60", "too far from mean"),
    ],
)
def test_values_that_make_no_law_are_refused_in_words(text, says):
    with pytest.raises(UsageError, match=says):
        drawn(text, (3, 3))
