"""The kernel of each kind of layer, and the kernels of a network.

Shapes: R runs, D units in, B rows of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from nnlab.engine.arrays import AlternatingBuffers, padded_zeros
from nnlab.engine.kernels.convolution import ConvKernel
from nnlab.engine.kernels.elementwise import ActivateKernel, DropoutKernel
from nnlab.engine.kernels.linear import FreeKernel, linear_kernel
from nnlab.engine.kernels.normalisation import NormKernel
from nnlab.engine.kernels.pooling import pool_kernel
from nnlab.engine.kernels.recurrence import RecurrentKernel
from nnlab.engine.kernels.sequence import ResidualKernel
from nnlab.engine.kernels.site import Kernel, Masks, Site, Weights
from nnlab.networks.layers import Activate, Dropout, Free, Layer, Layers, Linear, Norm, Residual, walk
from nnlab.networks.recurrent_layer import Recurrent
from nnlab.networks.spatial_layers import Conv, Pool

# A new kind of layer is a kernel of its own and a line here; a kernel is made from (layer, site). A residual layer is not in the table:
# it holds layers, so `kernels_of` makes it itself.
KERNELS: Final[Mapping[type[Layer], Callable[[Any, Site], Kernel]]] = {
    Linear: linear_kernel,
    Free: FreeKernel,
    Activate: ActivateKernel,
    Norm: NormKernel,
    Dropout: DropoutKernel,
    Conv: ConvKernel,
    Pool: pool_kernel,
    Recurrent: RecurrentKernel,
}


def kernels_of(
    layers: Layers,
    weights: Weights,
    width: int,
    masks: Masks,
    *,
    training: bool = True,
    prefix: str = "",
) -> list[Kernel]:
    """A kernel for each layer, with buffers for batches of `width` rows.

    Args:
        layers: of the network.
        weights: that the kernels read and write.
        width: B, rows of a batch.
        masks: draws dropout masks.
        training: `backward` will be called. If not, the layers share two buffers for each layout, which then stay in the cache.
        prefix: of the layers' names.
    """
    new_output = padded_zeros if training else AlternatingBuffers()
    new_gradient = AlternatingBuffers().new_like

    def kernel_of(layer: Layer, index: int) -> Kernel:
        name = f"{prefix}{index}"
        if isinstance(layer, Residual):
            inner = kernels_of(layer.inner, weights, width, masks, training=training, prefix=f"{name}.inner.")
            return ResidualKernel(inner)
        return KERNELS[type(layer)](
            layer, Site(weights, name, width, masks, not prefix and index == 0, new_output, new_gradient)
        )

    return [kernel_of(layer, index) for index, layer in enumerate(layers)]


def running_statistics(parameters: Mapping[str, Tensor], layers: Layers) -> dict[str, Tensor]:
    """Fresh running statistics for every batch norm: mean 0, variance 1."""
    found: dict[str, Tensor] = {}
    for name, layer in walk(layers):
        if isinstance(layer, Norm) and layer.over == "batch":
            like = parameters[f"{name}.weight"]
            found[f"{name}.running_mean"] = torch.zeros_like(like)
            found[f"{name}.running_var"] = torch.ones_like(like)
    return found
