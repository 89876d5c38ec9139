"""sweep-lr's verdicts: what each learning rate did to the training loss, in a word and a sentence.

B: loss of the best constant predictor. m: an arm's median final training loss, diverged runs as inf. m*: the least m, at
the rate lr*. Progress P = (B - m) / (B - m*): 1 at lr*, 0 for an arm no better than a constant. Verdicts are on training
loss, since they say what the rate does to optimisation; the best arm is chosen on validation (`selection`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from nnlab.analysis.rate_grids import extended_grid
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    import pandas as pd

RateWord = Literal["nothing learned", "diverges", "edge", "too small", "good", "not run"]

LEAST_LEARNED: Final = 0.05  # of B
COLLAPSED_BELOW: Final = 0.1  # of the best progress
GOOD_FROM: Final = 0.9  # of the best progress


@dataclass(frozen=True)
class RateVerdict:
    """The verdict on one learning rate.

    Attributes:
        arm: the rate's canonical spelling.
        lr: the rate.
        verdict: the word; `not run` if every run failed through the machine's fault.
        reason: one sentence with the numbers.
        progress: P; -inf if the median diverged, nan if nothing was learned or nothing ran.
        n_diverged: runs that diverged.
        n_collapsed: runs above lr* that stayed finite with progress below COLLAPSED_BELOW.
    """

    arm: str
    lr: float
    verdict: RateWord
    reason: str
    progress: float
    n_diverged: int
    n_collapsed: int


@dataclass(frozen=True)
class SweepVerdict:
    """The verdict on a sweep of learning rates as a whole.

    Attributes:
        rates: one verdict for each arm, rates ascending.
        lr_star: the rate of least median training loss; None if every arm's median diverged.
        bracketed: the grid has a rate on both sides of lr*.
        advice: what to do if it is not bracketed, with the value of `lr` that does it; else empty.
        nothing_learned: no arm got a twentieth of the way from a constant's loss to 0.
        collapsed: run_ids of all collapsed runs.
    """

    rates: tuple[RateVerdict, ...]
    lr_star: float | None
    bracketed: bool
    advice: str
    nothing_learned: bool
    collapsed: frozenset[str]


@dataclass(frozen=True)
class _Scale:
    """The scale of progress in a sweep: its B, m* and lr*."""

    constant_loss: float
    least_loss: float
    lr_star: float

    @property
    def nothing_learned(self) -> bool:
        return not self.constant_loss - self.least_loss >= LEAST_LEARNED * self.constant_loss

    def progress(self, loss: float) -> float:
        return (self.constant_loss - loss) / (self.constant_loss - self.least_loss)


def sweep_verdict(runs: pd.DataFrame) -> SweepVerdict:
    """The verdicts of a sweep over learning rates.

    B is the median of `constant_loss` over runs (it differs a little between splits). A run's own progress is the distance
    from its own B to its loss, divided by the sweep's B - m*. Runs that failed through the machine's fault are left out.

    Args:
        runs: rows of runs.csv with `run_id, arm, lr, status, diverged_step, train_loss`, and `constant_loss`, the
            loss of the best constant predictor on the run's training part.
    """
    arms = sorted(set(zip(runs["lr"].astype(float), runs["arm"], strict=True)))
    ran = runs[runs["status"] != "failed"]
    if ran.empty:
        return SweepVerdict(tuple(_not_run_verdict(arm, lr) for lr, arm in arms), None, False, "", False, frozenset())
    losses = ran["train_loss"].astype(float).mask(ran["status"] == "diverged", np.inf)
    ran = ran.assign(train_loss=losses, lr=ran["lr"].astype(float))
    scale = _scale(ran)
    dead = _collapsed_runs(ran, scale)
    rates = tuple(_rate_verdict(arm, lr, ran[ran["arm"] == arm], dead[dead["arm"] == arm], scale) for lr, arm in arms)
    lr_star = scale.lr_star if np.isfinite(scale.least_loss) else None
    advice = _advice([lr for lr, _ in arms], lr_star)
    return SweepVerdict(rates, lr_star, not advice, advice, scale.nothing_learned, frozenset(dead["run_id"]))


def _scale(ran: pd.DataFrame) -> _Scale:
    medians = {lr: float(np.median(ran.loc[ran["lr"] == lr, "train_loss"])) for lr in sorted(set(ran["lr"]))}
    lr_star = min(medians, key=lambda lr: medians[lr])
    return _Scale(float(ran["constant_loss"].median()), medians[lr_star], lr_star)


def _collapsed_runs(ran: pd.DataFrame, scale: _Scale) -> pd.DataFrame:
    """Runs above lr* that are finite but dead; none if nothing was learned, since then there is no best to fall short of."""
    if scale.nothing_learned:
        return ran.iloc[:0]
    own = (ran["constant_loss"] - ran["train_loss"]) / (scale.constant_loss - scale.least_loss)
    finite = ran["train_loss"] < np.inf
    return ran.loc[finite & (ran["lr"] > scale.lr_star) & (own < COLLAPSED_BELOW)]


def _rate_verdict(arm: str, lr: float, ran: pd.DataFrame, dead: pd.DataFrame, scale: _Scale) -> RateVerdict:
    if ran.empty:
        return _not_run_verdict(arm, lr)
    n_diverged, n_collapsed = int((ran["status"] == "diverged").sum()), len(dead)
    if scale.nothing_learned:
        return RateVerdict(arm, lr, "nothing learned", _nothing_learned_reason(ran, scale), float("nan"), n_diverged, 0)
    progress = scale.progress(float(np.median(ran["train_loss"])))
    word = _word(lr, progress, (n_diverged + n_collapsed) / len(ran), scale)
    reason = "; ".join(filter(None, [_failure_reason(ran, dead), _progress_reason(lr, progress, scale)]))
    return RateVerdict(arm, lr, word, reason, progress, n_diverged, n_collapsed)


def _not_run_verdict(arm: str, lr: float) -> RateVerdict:
    reason = "no run of this rate could be carried out; the same command tries them again"
    return RateVerdict(arm, lr, "not run", reason, float("nan"), 0, 0)


def _word(lr: float, progress: float, failing: float, scale: _Scale) -> RateWord:
    """The first verdict that fits; `failing` is the share of seeds that fail."""
    if failing >= 0.5:
        return "diverges"
    if failing > 0 or (lr > scale.lr_star and progress < GOOD_FROM):
        return "edge"
    return "too small" if progress < GOOD_FROM else "good"


def _failure_reason(ran: pd.DataFrame, dead: pd.DataFrame) -> str:
    """`diverged in 7 of 10 seeds, from step 12 on; collapsed in 1 of 10`, or nothing if none failed."""
    diverged = ran[ran["status"] == "diverged"]
    parts = []
    if len(diverged):
        parts.append(
            f"diverged in {len(diverged)} of {len(ran)} seeds, from step {int(diverged['diverged_step'].min())} on"
        )
    if len(dead):
        parts.append(f"collapsed in {len(dead)} of {len(ran)} seeds (finite, but no better than a constant)")
    return "; ".join(parts)


def _progress_reason(lr: float, progress: float, scale: _Scale) -> str:
    if not np.isfinite(progress):
        return ""
    if lr == scale.lr_star:
        return f"least median training loss, {scale.least_loss:.4g}"
    side = "lower" if lr < scale.lr_star else "higher"
    amount = f"reaches {_percent(progress)} of the best progress" if progress > 0 else "ends no better than a constant"
    return f"{amount}; {side} than the best training rate {scale.lr_star:.4g}"


def _percent(progress: float) -> str:
    """A share as a whole percentage, rounded down, so that 89.9 % never reads as the 90 % it missed."""
    return f"{int(np.floor(100 * progress + 1e-9))} %"


def _nothing_learned_reason(ran: pd.DataFrame, scale: _Scale) -> str:
    failures = _failure_reason(ran, ran.iloc[:0])
    if not np.isfinite(scale.least_loss):
        return failures
    least, constant = f"{scale.least_loss:.4g}", f"{scale.constant_loss:.4g}"
    sentence = f"the best rate's training loss, {least}, is not 5 % below a constant's, {constant}"
    return "; ".join(filter(None, [failures, sentence]))


def _advice(rates: list[float], lr_star: float | None) -> str:
    """Advice if lr* is at an end of the grid, or if there is none because everything diverged; else empty."""
    below = lr_star is None or lr_star == rates[0]
    above = lr_star is not None and lr_star == rates[-1]
    if not (below or above):
        return ""
    return f"not bracketed: extend the grid to {mention('lr', extended_grid(rates, below=below, above=above))}"
