"""Activations of the catalogue as `nn.Module`s. Importing this file loads torch, so it is imported where one is built."""

from __future__ import annotations

from torch import Tensor, nn

from nnlab.catalog.activations import activation_named
from nnlab.catalog.entry import key_values
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention


class ActivationModule(nn.Module):
    """An activation of the catalogue, differentiated by autograd."""

    def __init__(self, activation: Spec) -> None:
        super().__init__()
        self.function = activation_named(activation).function
        self.values = key_values(self.function, activation, what=mention("activation"))

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.function(x, **self.values)
        return h
