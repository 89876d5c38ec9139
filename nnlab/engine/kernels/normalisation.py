"""Layer, batch and group norm of many runs at once, differentiated by hand, with PyTorch's epsilon and running statistics.

Shapes: R runs, C channels, P positions, B rows of the batch, G groups of channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nnlab.engine.arrays import padded_like
from nnlab.engine.kernels.site import Site
from nnlab.networks.layers import NORM_EPSILON, Norm

NORM_MOMENTUM = 0.1


class NormKernel:
    """h = n weight + bias, with n = (x - mean) / sd; each channel has its own weight and bias.

    Mean and sd are taken over axis 2 of x: batch norm views x as [R, C, P B], group norm as [R, G, C / G P, B]. Layer norm is group
    norm with one group.
    """

    def __init__(self, layer: Norm, site: Site) -> None:
        self.weights, self.name = site.weights, site.name
        self.is_batch = layer.over == "batch"
        self.by_channel = (layer.channels, layer.positions * site.width)
        size = layer.channels // layer.groups * layer.positions
        self.by_mean = self.by_channel if self.is_batch else (layer.groups, size, site.width)
        self.weight = site.weights.parameters[f"{site.name}.weight"].unsqueeze(2)
        self.bias = site.weights.parameters[f"{site.name}.bias"].unsqueeze(2)
        self.normal: Tensor | None = None

    def forward(self, x: Tensor, training: bool) -> Tensor:
        if self.normal is None:
            self.normal, self.terms, self.h = padded_like(x), padded_like(x), padded_like(x)
        values, normal = _view(x, self.by_mean), _view(self.normal, self.by_mean)
        variance, mean = self._moments(values, training)
        self.inverse = (variance + NORM_EPSILON).rsqrt_()
        torch.sub(values, mean, out=normal)
        normal.mul_(self.inverse)
        into, scaled = _view(self.h, self.by_channel), _view(self.normal, self.by_channel)
        torch.addcmul(self.bias, scaled, self.weight, out=into)
        return self.h

    def _moments(self, values: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """Variance and mean: of these values, or in evaluation by batch norm the running ones."""
        if self.is_batch and not training:
            buffers = self.weights.buffers
            return buffers[f"{self.name}.running_var"].unsqueeze(2), buffers[f"{self.name}.running_mean"].unsqueeze(2)
        variance, mean = torch.var_mean(values, 2, correction=0, keepdim=True)
        if self.is_batch:
            self._update_running(mean.squeeze(2), variance.squeeze(2), values.shape[2])
        return variance, mean

    def _update_running(self, mean: Tensor, variance: Tensor, number: int) -> None:
        self.weights.buffers[f"{self.name}.running_mean"].lerp_(mean, NORM_MOMENTUM)
        unbiased = variance * (number / (number - 1)) if number > 1 else variance
        self.weights.buffers[f"{self.name}.running_var"].lerp_(unbiased, NORM_MOMENTUM)

    def backward(self, d: Tensor) -> Tensor:
        # dx = (g - mean(g) - n mean(g n)) / sd, with g = d weight the gradient of the normalised values n (Ioffe and Szegedy 2015).
        assert self.normal is not None
        of_channels, n_channels, terms = (_view(x, self.by_channel) for x in (d, self.normal, self.terms))
        weight_gradient = torch.mul(of_channels, n_channels, out=terms).sum(2)
        bias_gradient = of_channels.sum(2)
        of_channels.mul_(self.weight)
        g, n, terms = (_view(x, self.by_mean) for x in (d, self.normal, self.terms))
        both = torch.mul(g, n, out=terms).mean(2, keepdim=True)
        g.sub_(g.mean(2, keepdim=True)).sub_(torch.mul(n, both, out=terms)).mul_(self.inverse)
        self.weights.put(f"{self.name}.weight", weight_gradient)
        self.weights.put(f"{self.name}.bias", bias_gradient)
        return d


def _view(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """A padded array [R, C P, B] with its blocks viewed in another shape."""
    strides = torch.empty(sizes, device="meta").stride()
    return x.as_strided((x.shape[0], *sizes), (x.stride(0), *strides), x.storage_offset())
