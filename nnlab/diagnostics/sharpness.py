"""The sharpness of a loss: the largest eigenvalue of its Hessian, which limits the learning rate of gradient descent.

Shapes: P parameters in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    from scipy.sparse import linalg
else:
    linalg = lazy("scipy.sparse.linalg")


def largest_curvature(loss: Callable[[], Tensor], parameters: Sequence[Tensor], *, tolerance: float = 1e-4) -> float:
    """The largest eigenvalue of the Hessian of `loss` by `parameters`, at their present values.

    Computed by Lanczos iteration on Hessian-vector products (ARPACK's, through scipy), so the Hessian is never formed. On a
    quadratic, gradient descent converges if and only if its learning rate is below 2 / this eigenvalue.

    Args:
        loss: computes the loss, a scalar that can be differentiated twice; called once.
        parameters: P numbers in all, float64 for full precision.
        tolerance: relative error of the eigenvalue.

    Returns:
        The eigenvalue, in the loss's unit per squared unit of the parameters; 0 if the loss is piecewise linear.

    Source: Lanczos 1950; Pearlmutter 1994 for the products.
    """
    sizes = [p.numel() for p in parameters]
    slopes = torch.autograd.grad(loss(), parameters, create_graph=True)
    slope = torch.cat([s.flatten() for s in slopes])
    if not slope.requires_grad:
        return 0.0

    def product(vector: np.ndarray) -> np.ndarray:
        pushed = slope @ torch.from_numpy(np.asarray(vector).ravel()).to(slope)
        rows = torch.autograd.grad(pushed, parameters, retain_graph=True, materialize_grads=True)
        return torch.cat([row.flatten() for row in rows]).double().cpu().numpy()

    total = sum(sizes)
    start = np.random.default_rng(0).standard_normal(total)
    if not product(start).any():
        return 0.0
    if total == 1:
        return float(product(np.ones(1))[0])
    operator = linalg.LinearOperator((total, total), matvec=product, dtype=np.float64)
    (largest,) = linalg.eigsh(operator, k=1, which="LA", tol=tolerance, v0=start, return_eigenvectors=False)
    return float(largest)
