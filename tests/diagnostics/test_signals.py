"""What is seen in a network's layers, held to slow loops, to backward passes by hand and to the textbook's claims."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from problems import CPU, SOURCES, numbers, runs_of
from starts import drawn, module
from torch import nn

from nnlab.analysis.init_verdicts import init_verdict
from nnlab.catalog.activations import ACTIVATIONS
from nnlab.catalog.losses import LOSSES, constant_loss
from nnlab.catalog.models import mlp, neuron, parameters
from nnlab.core.spec import Spec, parse_spec
from nnlab.diagnostics.passes import elementwise
from nnlab.diagnostics.signals import COLUMNS, Probe, distinct_units, probe_rows, signals
from nnlab.engine.executors import Machine, execute

CROSS_ENTROPY = LOSSES["cross_entropy"]
# Both sides compute in float64, in another order.
ROUNDING = {"rtol": 1e-9, "atol": 1e-14}


def net(activation="relu", features=12, classes=10, **keys):
    return mlp(features, classes, parse_spec(activation, what="--activation"), **keys)


def asked(features=12, classes=10, rows=100, seed=0, runs=None):
    """Normal inputs and random classes, cross-entropy."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows,) if runs is None else (runs, rows)
    x = torch.randn(*shape, features, generator=generator, dtype=torch.float64)
    return Probe(x, torch.randint(classes, shape, generator=generator), CROSS_ENTROPY, {})


def column(found, name):
    """[R, L], for a column that every layer has."""
    return torch.stack([layer[name] for layer in found.columns], 1)


def seen_slowly(net_, x, y):
    """One run's columns by hooks on a module and one backward pass of autograd; units compared two by two."""
    linear = [(name, each) for name, each in net_.named_modules() if isinstance(each, nn.Linear)]
    z, inputs, activated = {}, {}, {}
    handles = []

    def remember(name):
        def hook(_, given, out):
            out.retain_grad()
            z[name], inputs[name] = out, given[0]

        return hook

    for name, each in linear:
        handles.append(each.register_forward_hook(remember(name)))
    kinds = (nn.ReLU, nn.Tanh, nn.Sigmoid)
    for each in net_.modules():
        if isinstance(each, kinds):
            handles.append(each.register_forward_hook(lambda _, given, out: activated.update({list(z)[-1]: (given[0], out)})))
    loss = F.cross_entropy(net_(x), y)
    loss.backward()
    rows = []
    for index, (name, each) in enumerate(linear):
        row = {"layer": index + 1, "layer_name": name, "units": each.out_features, "predicted_second_moment": None}
        values = z[name].detach().numpy()
        row["preactivation_second_moment"] = (values**2).mean()
        row["between_sample_sd"] = math.sqrt(values.var(axis=0).mean())
        row["delta_rms"] = math.sqrt((z[name].grad.numpy() ** 2).mean())
        row["weight_gradient_norm"] = each.weight.grad.norm().item()
        row["update_ratio"] = 0.3 * row["weight_gradient_norm"] / each.weight.norm().item()
        row["distinct_units"] = _distinct_slowly(each)
        row |= dict.fromkeys(["activation_mean", "dead_fraction", "saturated_fraction"])
        if name in activated:
            a, h = (each.detach() for each in activated[name])
            row["activation_mean"] = h.mean().item()
            if not isinstance(net_, nn.Sigmoid) and (activation_kind(net_) is not nn.Sigmoid):
                row["dead_fraction"] = (h == 0).all(0).double().mean().item()
            if activation_kind(net_) is nn.Tanh:
                row["saturated_fraction"] = (1 - a.tanh() ** 2 < 0.05).double().mean().item()
            if activation_kind(net_) is nn.Sigmoid:
                slope = a.sigmoid() * (1 - a.sigmoid())
                row["saturated_fraction"] = (slope < 0.05 / 4).double().mean().item()
        rows.append(row)
    return rows, loss.item()
