"""Textbook claims about initialisation, tested by training (claims I1, I2, I3, I8; numbers T11, T18).

The signal before any step, which needs no training, is held in tests/diagnostics (I4, T11's moments, T14, T18, T19) and
the laws of the draws in tests/catalog/test_inits.py (I5, I6, I7).
"""

from __future__ import annotations

import math
from itertools import pairwise

import pandas as pd
import pytest
import torch
from problems import CPU, SOURCES, runs_of, trained

from nnlab.diagnostics.signals.probing import LayerProbe
from nnlab.engine.executors import Machine, execute
from nnlab.engine.hooks import Hooks
from nnlab.engine.outcomes import Fitted

DIGITS = {"data": "digits", "epochs": 6, "lr": 0.1}


def fitted(settings: dict[str, object], *, seeds=(0, 1), lrs=None) -> list[Fitted]:
    finished: list[Fitted] = []
    machine = Machine(CPU, 1)
    runs = runs_of(settings, seeds=seeds, lrs=lrs)
    execute(runs, SOURCES, machine, Hooks(finished.extend, watch=LayerProbe(1), keep_weights=True))
    return finished


def layers_of(each: Fitted) -> pd.DataFrame:
    return pd.DataFrame(each.record.layers)


def label_entropy(seed: int, settings: dict[str, object]) -> float:
    """Of the training part's classes, in nats."""
    (run,) = runs_of(settings, seeds=[seed])
    shares = torch.bincount(torch.from_numpy(SOURCES.parts(run.settings, seed).train.y).long()).double()
    shares /= shares.sum()
    return float(-(shares * shares.log()).sum())


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_from_zeros_only_the_output_bias_ever_moves_and_the_loss_goes_to_the_labels_entropy(activation):
    # Full batches, so that the bias comes to rest: a batch of 100 has shares of its own.
    settings = {"model": "mlp:hidden=32x32", "activation": activation, "init": "zeros", "batch_size": "full"}
    settings |= DIGITS | {"lr": 1.0, "epochs": 200}
    for each in fitted(settings):
        layers = layers_of(each)
        assert each.record.status == "done"
        assert set(layers["epoch"]) == set(range(201))
        assert (layers["distinct_units"] == 1)[layers["layer"] < 3].all()
        weights = dict(each.weights or {})
        moved = [name for name, values in weights.items() if bool((values != 0).any())]
        assert moved == ["4.bias"]  # to the bit: the others are still exactly 0
        # 1e-5: what 200 steps of descent on the bias, whose smallest curvature is about 1/10, leave in float32.
        entropy = label_entropy(each.record.run.seed, settings)
        assert each.record.scores["train_loss"] == pytest.approx(entropy, rel=1e-5)
        assert each.record.scores["constant_loss"] == pytest.approx(entropy, rel=1e-12)


@pytest.mark.parametrize(
    ("init", "activation"), [("constant:val=0.1", "relu"), ("constant:val=-0.2", "tanh"), ("zeros", "sigmoid")]
)
def test_units_that_start_alike_stay_copies_of_one_another_while_they_learn(init, activation):
    settings = DIGITS | {"model": "mlp:hidden=16x16", "init": init, "activation": activation, "epochs": 8}
    for each in fitted(settings):
        layers = layers_of(each)
        # To 1e-4 of their length, not to the bit: matrix kernels treat edge columns differently.
        assert (layers["distinct_units"] == 1)[layers["layer"] < 3].all()
        start, end = (layers[layers["epoch"] == epoch].set_index("layer") for epoch in (0, 8))
        assert (end["weight_gradient_norm"] > 0).all()
        assert each.record.scores["train_loss"] != each.record.curves["train_loss"][0]
        assert len(start) == len(end) == 3


def test_weights_too_small_shrink_the_gradient_geometrically_towards_the_input_and_nothing_is_learned():
    std, width = 0.01, 100
    settings = DIGITS | {"model": f"mlp:width={width}:depth=10", "init": f"normal:std={std}", "lr": 0.1}
    for each in fitted(settings):
        layers = layers_of(each).set_index(["epoch", "layer"])
        delta = layers.loc[0, "delta_rms"]
        # A ReLU lets half of the gradient's square through: sqrt(100 / 2) 0.01 = 0.071 a layer. 20 %: one draw of width 100.
        factor = std * math.sqrt(width / 2)
        for layer in range(2, 10):
            assert delta[layer] / delta[layer + 1] == pytest.approx(factor, rel=0.2)
        norms = layers.loc[0, "weight_gradient_norm"]
        # Weight gradients prove nothing: they are as level as they are small.
        assert norms.loc[2:10].max() / norms.loc[2:10].min() < 3
        assert delta[1] / delta[11] < 1e-9
        losses = each.record.curves["train_loss"]
        assert abs(losses[-1] - losses[0]) < 0.01
        assert losses[-1] == pytest.approx(math.log(10), rel=1e-3)


@pytest.mark.parametrize("std", [0.5, 1.5])
def test_weights_too_large_for_their_fan_in_grow_the_gradient_geometrically_and_the_runs_diverge(std):
    width = 100
    settings = DIGITS | {"model": f"mlp:width={width}:depth=6", "init": f"normal:std={std}"}
    for each in fitted(settings, lrs=[0.001, 0.1]):
        delta = layers_of(each).query("epoch == 0").set_index("layer")["delta_rms"]
        factor = std * math.sqrt(width / 2)  # 3.5 and 10.6: at this fan-in 0.5 is not 'too small' but too large
        for layer in range(2, 6):
            assert delta[layer] / delta[layer + 1] == pytest.approx(factor, rel=0.2)
        assert delta[1] / delta[7] > 100
        losses = each.record.curves["train_loss"]
        is_wild = any(after > before for before, after in pairwise(losses))
        assert each.record.status == "diverged" or is_wild or losses[-1] > math.log(10)


def test_at_a_small_fan_in_the_same_weights_are_none_too_large():
    settings = DIGITS | {"model": "mlp:width=8:depth=6", "init": "normal:std=0.5", "epochs": 1}
    for each in fitted(settings):
        delta = layers_of(each).query("epoch == 0").set_index("layer")["delta_rms"]
        assert 0.1 < (delta[2] / delta[6]) ** 0.25 < 2  # sqrt(8 / 2) 0.5 = 1


def test_kaiming_trains_thirty_relu_layers_within_ten_epochs_and_xavier_stays_at_ln_10():
    # He et al. 2015, section 2.2, as an MLP on MNIST-1D: 30 x 100 ReLU, zero biases, SGD, batch 100.
    thirty = {"data": "mnist1d", "model": "mlp:width=100:depth=30", "epochs": 10}
    # All ten seeds and all rates: experiments/compare-init/thirty-layers.toml and experiments/compare/thirty-layers-rates.toml.
    for each in trained(runs_of(thirty | {"init": "kaiming_normal"}, lrs=[0.03], seeds=[0, 1])).values():
        assert each.record.scores["train_loss"] < math.log(10) - 0.2
    for each in trained(runs_of(thirty | {"init": "xavier_normal"}, lrs=[0.003, 0.03, 1.0])).values():
        # 0.01 nats: a rate of 1 shakes the output's bias by as much, batch by batch.
        assert each.record.scores["train_loss"] == pytest.approx(math.log(10), abs=0.01)
