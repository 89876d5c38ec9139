"""Optimizers: update rules that move many runs at once, each with its own learning rate, in place.

Shapes: R runs. `p` and `g` are one parameter of R runs and its gradient, [R, ...]; `lr` is [R, 1, ...], in the dtype of
`p`. `step` counts updates from 1. A rule may overwrite `g`, which saves a temporary: memory traffic is the cost of an update.

A number among the keys is one float for all runs, or a tensor of the shape of `lr` with a number for each run, in the dtype
of `p` or in float64. The float 0.0 skips its term altogether. Which of the two it is must not depend on the runs beside it.

`state` starts empty. A rule adds the tensors that it needs at the first step, with the strides of `p`, under PyTorch's names;
`scratch` carries nothing from one step to the next. Every tensor in `state` has the run axis first.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from nnlab.catalog.custom import is_custom
from nnlab.catalog.entry import find, key_values
from nnlab.catalog.own_optimizers import own_optimizer, own_optimizer_stand_in
from nnlab.catalog.stability_limits import sgd_limit
from nnlab.catalog.torch_lion import torch_lion
from nnlab.catalog.updates import (
    State,
    add_decay,
    add_multiple,
    average,
    average_square,
    cast_like,
    cast_tensor_like,
    decay,
    is_used,
    power,
    power_of,
    state_tensors,
    zeros,
)
from nnlab.core.errors import UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention, with_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import torch
    from torch import Tensor

    from nnlab.catalog.updates import Hyper
    from nnlab.core.kinds import Flag, Value
    from nnlab.core.spec import Spec

    # The names are the kinds by which a person's text is parsed; to a rule each is one number, or one number per run.
    Fraction: TypeAlias = Hyper
    NonNegative: TypeAlias = Hyper
    Numbers: TypeAlias = tuple[Hyper, ...]
else:
    torch = lazy("torch")


def sgd(
    p: Tensor,
    g: Tensor,
    state: State,
    _step: int,
    lr: Tensor,
    *,
    momentum: Fraction = 0.0,
    dampening: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    nesterov: Flag = False,
) -> None:
    """p <- p - lr b, where b <- momentum b + (1 - dampening) g, and the first b is the first g.

    nesterov: p <- p - lr (g + momentum b). weight_decay L: g + L p replaces g.

    Source: Polyak 1964; Sutskever et al. 2013, with the rate outside the sum as in PyTorch.
    """
    add_decay(g, p, weight_decay)
    if is_used(momentum):
        buffer = state.get("momentum_buffer")
        if buffer is None:
            buffer = state["momentum_buffer"] = zeros(p).copy_(g)
        else:
            if is_used(dampening):
                g.mul_(cast_like(p, 1 - dampening))
            add_multiple(g, buffer, momentum, out=buffer)
        if nesterov:
            add_multiple(g, buffer, momentum, out=g)
        else:
            g = buffer
    p.addcmul_(g, lr, value=-1)


def adam(
    p: Tensor,
    g: Tensor,
    state: State,
    step: int,
    lr: Tensor,
    *,
    betas: Numbers = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    amsgrad: Flag = False,
) -> None:
    """p <- p - lr m' / (sqrt(v') + eps): m and v average g and g^2; m' = m / (1 - betas[0]^step), v' likewise.

    amsgrad: the largest v so far replaces v. weight_decay L: g + L p replaces g, so the decay is divided by sqrt(v') too.

    Source: Kingma and Ba 2015, algorithm 1; Reddi et al. 2018 (amsgrad).
    """
    add_decay(g, p, weight_decay)
    _adam_step(p, g, state, step, lr, betas=betas, eps=eps, amsgrad=amsgrad)


def adamw(
    p: Tensor,
    g: Tensor,
    state: State,
    step: int,
    lr: Tensor,
    *,
    betas: Numbers = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 1e-2,
    amsgrad: Flag = False,
) -> None:
    """adam, but p <- (1 - lr weight_decay) p before each step: the decay is not divided by the gradients' size.

    Source: Loshchilov and Hutter 2019.
    """
    decay(p, lr, weight_decay)
    _adam_step(p, g, state, step, lr, betas=betas, eps=eps, amsgrad=amsgrad)


def rmsprop(
    p: Tensor,
    g: Tensor,
    state: State,
    _step: int,
    lr: Tensor,
    *,
    alpha: Fraction = 0.99,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    momentum: Fraction = 0.0,
    centered: Flag = False,
) -> None:
    """p <- p - lr g / (sqrt(v) + eps), where v <- alpha v + (1 - alpha) g^2.

    centered: v minus the square of the average of g replaces v. momentum: p <- p - lr b, b <- momentum b + g / (sqrt(v) + eps).

    Source: Tieleman and Hinton 2012, lecture 6.5; Graves 2013, eq. 38 to 45 (centered).
    """
    add_decay(g, p, weight_decay)
    square_avg, scratch = state_tensors(state, p, "square_avg", "scratch")
    average_square(square_avg, g, alpha)
    if centered:
        (grad_avg,) = state_tensors(state, p, "grad_avg")
        average(grad_avg, g, alpha)
        torch.addcmul(square_avg, grad_avg, grad_avg, value=-1, out=scratch).sqrt_()
    else:
        torch.sqrt(square_avg, out=scratch)
    g.div_(scratch.add_(cast_like(p, eps)))
    if is_used(momentum):
        (buffer,) = state_tensors(state, p, "momentum_buffer")
        g = add_multiple(g, buffer, momentum, out=buffer)
    p.addcmul_(g, lr, value=-1)


def adagrad(
    p: Tensor,
    g: Tensor,
    state: State,
    step: int,
    lr: Tensor,
    *,
    lr_decay: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 0.0,
    eps: NonNegative = 1e-10,
) -> None:
    """p <- p - lr' g / (sqrt(s) + eps), where s <- s + g^2 and lr' = lr / (1 + (step - 1) lr_decay).

    Source: Duchi et al. 2011, fig. 1, diagonal.
    """
    add_decay(g, p, weight_decay)
    total, scratch = state.get("sum"), *state_tensors(state, p, "scratch")
    if total is None:
        total = state["sum"] = zeros(p).add_(cast_like(p, initial_accumulator_value))
    total.addcmul_(g, g)
    torch.sqrt(total, out=scratch)
    g.div_(scratch.add_(cast_like(p, eps)))
    rate = lr / (1 + (step - 1) * lr_decay) if is_used(lr_decay) else lr
    p.addcmul_(g, cast_tensor_like(p, rate), value=-1)


def adadelta(
    p: Tensor,
    g: Tensor,
    state: State,
    _step: int,
    lr: Tensor,
    *,
    rho: Fraction = 0.9,
    eps: NonNegative = 1e-6,
    weight_decay: NonNegative = 0.0,
) -> None:
    """p <- p - lr d, where d = g sqrt(u + eps) / sqrt(v + eps): v averages g^2, u averages d^2 over the earlier steps.

    Source: Zeiler 2012, algorithm 1; there lr is 1, which is also PyTorch's default (nnlab's is 0.1).
    """
    add_decay(g, p, weight_decay)
    square_avg, acc_delta, scratch = state_tensors(state, p, "square_avg", "acc_delta", "scratch")
    added = cast_like(p, eps)
    average_square(square_avg, g, rho)
    g.div_(torch.add(square_avg, added, out=scratch).sqrt_())
    g.mul_(torch.add(acc_delta, added, out=scratch).sqrt_())
    p.addcmul_(g, lr, value=-1)
    average_square(acc_delta, g, rho)


def nadam(
    p: Tensor,
    g: Tensor,
    state: State,
    step: int,
    lr: Tensor,
    *,
    betas: Numbers = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    momentum_decay: NonNegative = 4e-3,
    decoupled_weight_decay: Flag = False,
) -> None:
    """adam with Nesterov's look-ahead: m' = mu[t+1] m / (1 - M[t+1]) + (1 - mu[t]) g / (1 - M[t]).

    mu[t] = betas[0] (1 - 0.96^(t momentum_decay) / 2), M[t] = mu[1] ... mu[t]. M is kept in float32 even for float64
    parameters, as in PyTorch: the step equals PyTorch's to the last digits, not the paper's.

    Source: Dozat 2016.
    """
    if decoupled_weight_decay:
        decay(p, lr, weight_decay)
    else:
        add_decay(g, p, weight_decay)
    exp_avg, exp_avg_sq, scratch = state_tensors(state, p, "exp_avg", "exp_avg_sq", "scratch")
    average(exp_avg, g, betas[0])
    average_square(exp_avg_sq, g, betas[1])
    mu, mu_next = (betas[0] * (1 - 0.5 * power_of(0.96, at * momentum_decay)) for at in (step, step + 1))
    product = state.setdefault("mu_product", torch.ones_like(lr, dtype=torch.float32))
    product.mul_(mu if isinstance(mu, float) else mu.to(torch.float32))
    product_here = product.to(torch.promote_types(lr.dtype, torch.float32))
    scale = (1 - power(betas[1], step)) ** 0.5
    torch.sqrt(exp_avg_sq, out=scratch).add_(cast_like(p, eps * scale))
    g.mul_(cast_like(p, lr * ((1 - mu) * scale / (1 - product_here))))
    g.addcmul_(exp_avg, cast_tensor_like(p, lr * (mu_next * scale / (1 - product_here * mu_next))))
    p.addcdiv_(g, scratch, value=-1)


def radam(
    p: Tensor,
    g: Tensor,
    state: State,
    step: int,
    lr: Tensor,
    *,
    betas: Numbers = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    decoupled_weight_decay: Flag = False,
) -> None:
    """adam's step times r, which rectifies the variance of 1 / sqrt(v'); p <- p - lr m' as long as r is not defined.

    rho = rho_inf - 2 step betas[1]^step / (1 - betas[1]^step), rho_inf = 2 / (1 - betas[1]) - 1; r is defined where
    rho > 5, and r^2 = (rho - 4)(rho - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho).

    Source: Liu et al. 2020, algorithm 2, with PyTorch's 5 for the paper's 4.
    """
    if decoupled_weight_decay:
        decay(p, lr, weight_decay)
    else:
        add_decay(g, p, weight_decay)
    exp_avg, exp_avg_sq = state_tensors(state, p, "exp_avg", "exp_avg_sq")
    average(exp_avg, g, betas[0])
    average_square(exp_avg_sq, g, betas[1])
    rectified, factor = _rectification(betas[1], power(betas[1], step), step)
    rate = lr / (1 - power(betas[0], step))
    if rectified is False:
        p.addcmul_(exp_avg, cast_tensor_like(p, rate), value=-1)
        return
    torch.sqrt(exp_avg_sq, out=g).add_(cast_like(p, eps))
    if not isinstance(rectified, bool):
        g.masked_fill_(~rectified, 1.0)
    torch.div(exp_avg, g, out=g)
    p.addcmul_(g, cast_tensor_like(p, rate * factor), value=-1)


def lion(
    p: Tensor,
    g: Tensor,
    state: State,
    _step: int,
    lr: Tensor,
    *,
    betas: Numbers = (0.9, 0.99),
    weight_decay: NonNegative = 0.0,
) -> None:
    """p <- p - lr (sign(betas[0] m + (1 - betas[0]) g) + weight_decay p), then m <- betas[1] m + (1 - betas[1]) g.

    Every entry moves by lr, whatever the size of its gradient: use rates a third to a tenth of adam's.

    Source: Chen et al. 2023, algorithm 2.
    """
    decay(p, lr, weight_decay)
    exp_avg, scratch = state_tensors(state, p, "exp_avg", "scratch")
    torch.lerp(exp_avg, g, cast_like(p, 1 - betas[0]), out=scratch)
    p.addcmul_(scratch.sign_(), lr, value=-1)
    average(exp_avg, g, betas[1])


def clip_norm_(grads: list[Tensor], max_norm: Tensor) -> None:
    """Scale each run's gradient in place, so that its Euclidean norm over all parameters is at most the run's `max_norm`.

    The factor is min(1, max_norm / (norm + 1e-6)), as in torch.nn.utils.clip_grad_norm_.

    Args:
        grads: the gradient of each parameter, [R, ...].
        max_norm: [R], above 0; inf leaves a run as it is.

    Source: Pascanu et al. 2013, algorithm 1.
    """
    # The parameters' axis is last, so that a run is summed in the same order alone and beside others.
    norms = torch.stack([_norms(g) for g in grads], dim=1)
    factor = (max_norm / (torch.linalg.vector_norm(norms, dim=1) + 1e-6)).clamp_(max=1.0)
    for g in grads:
        g.mul_(factor.view(-1, *(1,) * (g.ndim - 1)))


def _norms(g: Tensor) -> Tensor:
    """The norm of each run, [R]; for one number per run its absolute value (without dims PyTorch takes the norm of all runs)."""
    return torch.linalg.vector_norm(g, dim=tuple(range(1, g.ndim))) if g.ndim > 1 else g.abs()


def _adam_step(
    p: Tensor, g: Tensor, state: State, step: int, lr: Tensor, *, betas: Numbers, eps: Hyper, amsgrad: bool
) -> None:
    """p <- p - lr m' / (sqrt(v') + eps), with both corrections folded into lr and eps: each saves a pass over memory."""
    exp_avg, exp_avg_sq = state_tensors(state, p, "exp_avg", "exp_avg_sq")
    average(exp_avg, g, betas[0])
    average_square(exp_avg_sq, g, betas[1])
    if amsgrad:
        (largest,) = state_tensors(state, p, "max_exp_avg_sq")
        exp_avg_sq = torch.maximum(largest, exp_avg_sq, out=largest)
    scale = (1 - power(betas[1], step)) ** 0.5
    correction = 1 - power(betas[0], step)
    torch.sqrt(exp_avg_sq, out=g).add_(cast_like(p, eps * scale))
    torch.div(exp_avg, g, out=g)
    p.addcmul_(g, cast_tensor_like(p, lr * (scale / correction)), value=-1)


def fused_adam(
    kernel: str,
    parameters: list[Tensor],
    gradients: list[Tensor],
    averages: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
    *,
    lr: float,
    betas: tuple[float, float],
    **values: object,
) -> None:
    """adam or adamw on all parameters of one run, in one pass over memory: the kernel behind `torch.optim.Adam(fused=True)`.

    Args:
        kernel: its name in torch.
        parameters, gradients, averages, squares: the run's tensors, in the same order.
        steps: the number of the step, from 1, for each parameter.
        lr, betas, values: the run's numbers.
    """
    beta1, beta2 = betas
    step = getattr(torch, kernel)
    step(
        parameters, gradients, averages, squares, [], steps, lr=lr, beta1=beta1, beta2=beta2, maximize=False, **values
    )  # fmt: skip


def _rectification(beta2: Hyper, beta2_power: Hyper, step: int) -> tuple[bool | Tensor, Hyper]:
    """True where RAdam's r is defined, and the factor on the rate: sqrt(1 - betas[1]^step) r there, else 1."""
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * step * beta2_power / (1 - beta2_power)
    is_defined = rho > 5
    if is_defined is False:
        return False, 1.0
    square = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
    factor = (square * (1 - beta2_power)) ** 0.5
    if isinstance(is_defined, bool) or isinstance(factor, float):
        return is_defined, factor
    return is_defined, factor.masked_fill_(~is_defined, 1.0)


@dataclass(frozen=True)
class Optimizer:
    """A row of OPTIMIZERS. It has a reference, which the rule must equal: either `torch_class` or `reference`.

    Attributes:
        function: the update rule.
        torch_class: name of the class in `torch.optim` that is the reference.
        reference: if `torch.optim` has no such class, `reference(parameters, lr=..., **keys)` returns an optimizer that is.
        fused: the same rule on all parameters of one run at once, if PyTorch has a kernel for it.
        state: the names of the tensors as large as the parameter that the rule may keep, to estimate memory.
        stability_limit: `stability_limit(keys, largest_curvature)`: the rate above which the rule diverges on a quadratic; None
            if theory gives none.
        source: who proposed it.
    """

    function: Callable[..., None]
    _: KW_ONLY
    torch_class: str | None = None
    reference: Callable[..., torch.optim.Optimizer] | None = None
    fused: Callable[..., None] | None = None
    state: tuple[str, ...] = ()
    stability_limit: Callable[[Mapping[str, Value | None], float], float | None] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        assert (self.torch_class is None) != (self.reference is None), "a row names one reference"

    def reference_optimizer(
        self, parameters: Iterable[Tensor], *, lr: float, values: Mapping[str, Value | None]
    ) -> torch.optim.Optimizer:
        """The reference on the parameters of one run.

        Args:
            parameters: the parameters to train.
            lr: the learning rate.
            values: from `optimizer_values`.
        """
        if self.reference is not None:
            return self.reference(parameters, lr=lr, **values)
        assert self.torch_class is not None
        optimizer_class: Callable[..., torch.optim.Optimizer] = getattr(torch.optim, self.torch_class)
        return optimizer_class(parameters, lr=lr, **values)


OPTIMIZERS: Final[Mapping[str, Optimizer]] = {
    "sgd": Optimizer(
        sgd,
        torch_class="SGD",
        state=("momentum_buffer",),
        stability_limit=sgd_limit,
        source="Robbins and Monro 1951; Polyak 1964",
    ),
    "adam": Optimizer(
        adam,
        torch_class="Adam",
        fused=partial(fused_adam, "_fused_adam_"),
        state=("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
        source="Kingma and Ba 2015",
    ),
    "adamw": Optimizer(
        adamw,
        torch_class="AdamW",
        fused=partial(fused_adam, "_fused_adamw_"),
        state=("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
        source="Loshchilov and Hutter 2019",
    ),
    "rmsprop": Optimizer(
        rmsprop,
        torch_class="RMSprop",
        state=("square_avg", "scratch", "grad_avg", "momentum_buffer"),
        source="Tieleman and Hinton 2012",
    ),
    "adagrad": Optimizer(
        adagrad,
        torch_class="Adagrad",
        state=("sum", "scratch"),
        source="Duchi et al. 2011",
    ),
    "adadelta": Optimizer(
        adadelta,
        torch_class="Adadelta",
        state=("square_avg", "acc_delta", "scratch"),
        source="Zeiler 2012",
    ),
    "nadam": Optimizer(
        nadam,
        torch_class="NAdam",
        state=("exp_avg", "exp_avg_sq", "scratch"),
        source="Dozat 2016",
    ),
    "radam": Optimizer(
        radam,
        torch_class="RAdam",
        state=("exp_avg", "exp_avg_sq"),
        source="Liu et al. 2020",
    ),
    "lion": Optimizer(
        lion,
        reference=torch_lion,
        state=("exp_avg", "scratch"),
        source="Chen et al. 2023",
    ),
}


def optimizer_named(spec: Spec, *, what: str = mention("optimizer")) -> Optimizer:
    """The optimizer that `spec` names: a row of the table, or one made for a person's own torch.optim.Optimizer.

    Raises:
        UsageError: no such name, file or class.
    """
    if is_custom(spec.name):
        return Optimizer(own_optimizer_stand_in(spec.name), reference=partial(own_optimizer, spec.name))
    return find(OPTIMIZERS, spec, what=what)


def optimizer_values(spec: Spec, *, what: str = mention("optimizer")) -> dict[str, Value | None]:
    """Every key of the optimizer that `spec` names, with its value; does not load torch.

    Raises:
        UsageError: an unknown name or key, betas that are not two numbers from 0 to below 1, nesterov without momentum
            or with dampening.
    """
    values = key_values(optimizer_named(spec, what=what).function, spec, what=what)
    betas = values.get("betas")
    if isinstance(betas, tuple) and not (len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
        raise UsageError(
            f"{with_value(what, f'{spec.name}:betas')} takes two numbers from 0 to below 1, such as 0.9x0.999,"
            f" not {spec.option('betas')!r}."
        )
    if not is_custom(spec.name) and values.get("nesterov") and (not values["momentum"] or values["dampening"]):
        raise UsageError(
            f"{with_value(what, spec)}: nesterov needs a momentum above 0 and no dampening,"
            " as in sgd:momentum=0.9:nesterov=true."
        )
    return values
