"""Learning rate schedules: each builds PyTorch's own scheduler on a given optimizer.

A schedule changes the rate once per epoch or once per step, as PyTorch intends it. Where PyTorch has no default, or one that
suits few budgets, the default follows from the budget, and the docstring says how. The optimizer's rate is the setting `lr`;
in `one_cycle` and `cyclic` it is the peak.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from nnlab.catalog.custom import load
from nnlab.catalog.entry import find, key_values
from nnlab.catalog.expressions import parse_expression
from nnlab.core.errors import UsageError, did_you_mean
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention, with_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

    from nnlab.core.kinds import (
        Count,
        Flag,
        Fraction,
        NonNegative,
        Positive,
        Probability,
        Sizes,
        Value,
        Whole,
        Word,
    )
    from nnlab.core.spec import Spec
else:
    torch = lazy("torch")

T = TypeVar("T")


@dataclass(frozen=True)
class Budget:
    """The length of a run and its learning rate.

    Attributes:
        epochs: passes over the training part; `max_steps` may cut the last one short.
        steps_per_epoch: batches of one pass.
        lr: the optimizer's rate.
        max_steps: number of steps, if that is less than the epochs have (the setting `steps`).
    """

    epochs: int
    steps_per_epoch: int
    lr: float
    max_steps: int | None = None

    @property
    def steps(self) -> int:
        """The number of steps of the run."""
        return self.epochs * self.steps_per_epoch if self.max_steps is None else self.max_steps


def none(optimizer: Optimizer, _budget: Budget) -> LRScheduler:
    """The rate stays at lr."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _epoch: 1.0)


def lambda_(optimizer: Optimizer, _budget: Budget, *, lr_lambda: Word) -> LRScheduler:
    """lr times a function of the epoch: an expression such as 0.95**epoch, or FILE.py:NAME."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, function_of_epoch(lr_lambda, what=mention("schedule", "lambda:lr_lambda"))
    )


def multiplicative(optimizer: Optimizer, _budget: Budget, *, lr_lambda: Word) -> LRScheduler:
    """The previous rate times a function of the epoch, from epoch 1 on: an expression, or FILE.py:NAME."""
    function = function_of_epoch(lr_lambda, what=mention("schedule", "multiplicative:lr_lambda"))
    return torch.optim.lr_scheduler.MultiplicativeLR(optimizer, function)


def step(optimizer: Optimizer, budget: Budget, *, step_size: Count | None = None, gamma: Positive = 0.1) -> LRScheduler:
    """lr gamma^(epoch // step_size). By default three stages: step_size is a third of the epochs, rounded up."""
    return torch.optim.lr_scheduler.StepLR(optimizer, _value_or(step_size, -(-budget.epochs // 3)), gamma)


def multi_step(
    optimizer: Optimizer, budget: Budget, *, milestones: Sizes | None = None, gamma: Positive = 0.1
) -> LRScheduler:
    """lr gamma^(milestones passed). By default they are a half and three quarters of the epochs, as in He et al. 2016."""
    halves = (math.ceil(budget.epochs / 2), math.ceil(budget.epochs * 3 / 4))
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, list(milestones or halves), gamma)


def constant(
    optimizer: Optimizer, _budget: Budget, *, factor: Probability = 1 / 3, total_iters: Whole = 5
) -> LRScheduler:
    """lr times factor for the first total_iters epochs, then lr. (For a constant rate use `none`.)"""
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor, total_iters)


def linear(
    optimizer: Optimizer,
    _budget: Budget,
    *,
    start_factor: Probability = 1 / 3,
    end_factor: Probability = 1.0,
    total_iters: Count = 5,
) -> LRScheduler:
    """lr times a factor that goes linearly from start_factor to end_factor in total_iters epochs."""
    return torch.optim.lr_scheduler.LinearLR(optimizer, start_factor, end_factor, total_iters)


def exponential(optimizer: Optimizer, budget: Budget, *, gamma: Positive | None = None) -> LRScheduler:
    """lr gamma^epoch. By default the rate falls to a hundredth over all epochs: gamma = 0.01^(1 / epochs)."""
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, _value_or(gamma, 0.01 ** (1 / budget.epochs)))


def polynomial(
    optimizer: Optimizer, budget: Budget, *, total_iters: Count | None = None, power: Positive = 1.0
) -> LRScheduler:
    """lr (1 - epoch / total_iters)^power, and 0 from total_iters on. By default total_iters is all epochs."""
    return torch.optim.lr_scheduler.PolynomialLR(optimizer, _value_or(total_iters, budget.epochs), power)


def cosine(
    optimizer: Optimizer, budget: Budget, *, T_max: Count | None = None, eta_min: NonNegative = 0.0
) -> LRScheduler:
    """eta_min + (lr - eta_min)(1 + cos(pi epoch / T_max)) / 2, rising again after T_max. By default T_max is all epochs.

    Source: Loshchilov and Hutter 2017, eq. 5, without restarts.
    """
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _value_or(T_max, budget.epochs), eta_min)


def cosine_warm_restarts(
    optimizer: Optimizer,
    budget: Budget,
    *,
    T_0: Count | None = None,
    T_mult: Count = 1,
    eta_min: NonNegative = 0.0,
) -> LRScheduler:
    """Cosines of T_0, T_0 T_mult, T_0 T_mult^2, ... epochs, one after the other. By default two: T_0 is half the epochs.

    Source: Loshchilov and Hutter 2017, eq. 5.
    """
    first = _value_or(T_0, math.ceil(budget.epochs / 2))
    return torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, first, T_mult, eta_min)


def cyclic(
    optimizer: Optimizer,
    budget: Budget,
    *,
    base_lr: NonNegative | None = None,
    step_size_up: Count | None = None,
    step_size_down: Count | None = None,
    mode: Word = "triangular",
    gamma: Positive = 1.0,
    cycle_momentum: Flag = False,
    base_momentum: Fraction = 0.8,
    max_momentum: Fraction = 0.9,
) -> LRScheduler:
    """Triangles between base_lr and lr, step by step.

    By default base_lr is lr / 4, and step_size_up a quarter of all steps, for two whole cycles (few budgets reach
    PyTorch's 2000). Momentum is cycled only with cycle_momentum=true.

    Source: Smith 2017.
    """
    lowest = _value_or(base_lr, budget.lr / 4)
    if lowest > budget.lr:
        raise UsageError(
            f"{mention('schedule', f'cyclic:base_lr={lowest!r}')} is above the peak, {mention('lr', budget.lr)}. Lower base_lr."
        )
    return torch.optim.lr_scheduler.CyclicLR(
        optimizer,
        base_lr=lowest,
        max_lr=budget.lr,
        step_size_up=_value_or(step_size_up, max(1, budget.steps // 4)),
        step_size_down=step_size_down,
        mode=mode,  # type: ignore[arg-type]  # one of WORDS
        gamma=gamma,
        cycle_momentum=cycle_momentum,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
    )


def one_cycle(
    optimizer: Optimizer,
    budget: Budget,
    *,
    total_steps: Count | None = None,
    pct_start: Probability = 0.3,
    anneal_strategy: Word = "cos",
    cycle_momentum: Flag = False,
    base_momentum: Fraction = 0.85,
    max_momentum: Fraction = 0.95,
    div_factor: Positive = 25.0,
    final_div_factor: Positive = 1e4,
    three_phase: Flag = False,
) -> LRScheduler:
    """From lr / div_factor up to lr in pct_start of the steps, then down to lr / div_factor / final_div_factor.

    The end is reached at the last of total_steps, by default all steps. Momentum is cycled only with cycle_momentum=true.

    Source: Smith and Topin 2019, in the two phases of fastai.
    """
    total = _value_or(total_steps, budget.steps)
    if pct_start * total == 1:
        raise UsageError(
            f"{mention('schedule', 'one_cycle')}: pct_start={pct_start!r} of {total} steps is a rise of one step, where PyTorch "
            "divides by zero. Use another pct_start."
        )
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=budget.lr,
        total_steps=total,
        pct_start=pct_start,
        anneal_strategy=anneal_strategy,  # type: ignore[arg-type]  # one of WORDS
        cycle_momentum=cycle_momentum,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        three_phase=three_phase,
    )


def reduce_on_plateau(
    optimizer: Optimizer,
    _budget: Budget,
    *,
    factor: Fraction = 0.1,
    patience: Whole = 10,
    threshold: NonNegative = 1e-4,
    threshold_mode: Word = "rel",
    cooldown: Whole = 0,
    min_lr: NonNegative = 0.0,
    eps: NonNegative = 1e-8,
) -> ReduceLROnPlateau:
    """The rate times factor after patience + 1 epochs in a row whose validation loss is not below the best.

    Below means less than best (1 - threshold), or than best - threshold with threshold_mode=abs. For cooldown epochs after a
    change none is counted. A change of eps or less is not made.
    """
    return torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=factor,
        patience=patience,
        threshold=threshold,
        threshold_mode=threshold_mode,  # type: ignore[arg-type]  # one of WORDS
        cooldown=cooldown,
        min_lr=min_lr,
        eps=eps,
    )


def function_of_epoch(text: str, *, what: str) -> Callable[[int], float]:
    """The function in `lr_lambda`: an expression of `epoch`, or the function FILE.py:NAME.

    Raises:
        UsageError: an expression that is not arithmetic, no such file or name, or an object that can't be called.
    """
    if ":" not in text:
        return parse_expression(text, variable="epoch", what=what)
    function = load(text)
    if not callable(function):
        raise UsageError(f"{what}: {text!r} is of type {type(function).__name__}, not a function of the epoch.")
    return lambda epoch: float(function(epoch))


def _value_or(value: T | None, default: T) -> T:
    return default if value is None else value


@dataclass(frozen=True)
class Schedule:
    """A row of SCHEDULES.

    Attributes:
        function: builds PyTorch's scheduler on an optimizer.
        torch_class: the scheduler's name in torch.optim.lr_scheduler.
        per: how often the scheduler is stepped.
        is_constant: the rate is lr at every step.
        listens: it depends on the validation loss, so its rates can't be computed beforehand.
        source: who proposed it, or PyTorch's documentation.
    """

    function: Callable[..., LRScheduler]
    _: KW_ONLY
    torch_class: str
    per: Literal["epoch", "step"] = "epoch"
    is_constant: bool = False
    listens: bool = False
    source: str = "PyTorch, torch.optim.lr_scheduler"


# The words that these keys accept.
WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "mode": ("triangular", "triangular2", "exp_range"),
    "anneal_strategy": ("cos", "linear"),
    "threshold_mode": ("rel", "abs"),
}

SCHEDULES: Final[Mapping[str, Schedule]] = {
    "none": Schedule(none, torch_class="LambdaLR", is_constant=True),
    "lambda": Schedule(lambda_, torch_class="LambdaLR"),
    "multiplicative": Schedule(multiplicative, torch_class="MultiplicativeLR"),
    "step": Schedule(step, torch_class="StepLR"),
    "multi_step": Schedule(multi_step, torch_class="MultiStepLR", source="He et al. 2016"),
    "constant": Schedule(constant, torch_class="ConstantLR"),
    "linear": Schedule(linear, torch_class="LinearLR"),
    "exponential": Schedule(exponential, torch_class="ExponentialLR"),
    "polynomial": Schedule(polynomial, torch_class="PolynomialLR"),
    "cosine": Schedule(cosine, torch_class="CosineAnnealingLR", source="Loshchilov and Hutter 2017"),
    "cosine_warm_restarts": Schedule(
        cosine_warm_restarts,
        torch_class="CosineAnnealingWarmRestarts",
        source="Loshchilov and Hutter 2017",
    ),
    "cyclic": Schedule(cyclic, torch_class="CyclicLR", per="step", source="Smith 2017"),
    "one_cycle": Schedule(one_cycle, torch_class="OneCycleLR", per="step", source="Smith and Topin 2019"),
    "reduce_on_plateau": Schedule(reduce_on_plateau, torch_class="ReduceLROnPlateau", listens=True),
}


def schedule_values(spec: Spec, *, what: str = mention("schedule")) -> dict[str, Value | None]:
    """Every key of the schedule that `spec` names, with its value; does not load torch.

    Raises:
        UsageError: an unknown name, key or word, or an lr_lambda that is not arithmetic. (FILE.py:NAME is loaded when the
            schedule is built.)
    """
    values = key_values(find(SCHEDULES, spec, what=what).function, spec, what=what)
    for key, accepted in WORDS.items():
        if key in values and values[key] not in accepted:
            given = str(values[key])
            raise UsageError(
                f"{with_value(what, f'{spec.name}:{key}={given}')} is not known.{did_you_mean(given, accepted)} "
                f"Accepted: {', '.join(sorted(accepted))}."
            )
    text = values.get("lr_lambda")
    if isinstance(text, str) and ":" not in text:
        function_of_epoch(text, what=with_value(what, f"{spec.name}:lr_lambda"))
    return values
