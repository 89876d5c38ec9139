"""compare-init's verdicts: is the signal alive in the network before any step?

A_l: between-sample standard deviation of the pre-activations of layer l = 1..L. D_l: root mean square of dL/dz_l.
B: loss of the best constant predictor. The forward signal is judged by A_L / A_1, the
backward one by D_1 / D_L.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

# In the order in which they are tried; the first that fits is the verdict.
InitWord = Literal["symmetric", "exploding", "vanishing", "dead", "saturated", "healthy"]

FACTOR: Final = 1e3
WORST_FIRST_LOSS: Final = 10.0  # times B


@dataclass(frozen=True)
class InitVerdict:
    """The verdict on what an initialisation does to the signal.

    Attributes:
        verdict: the word.
        reason: one sentence with the numbers.
    """

    verdict: InitWord
    reason: str


def init_verdict(layers: pd.DataFrame, *, first_loss: float, constant_loss: float) -> InitVerdict:
    """The verdict on one run before its first step.

    Args:
        layers: that run's rows of layers.csv at epoch 0: `layer, units, distinct_units, between_sample_sd, delta_rms,
            dead_fraction, saturated_fraction`; the last layer is the output.
        first_loss: training loss before any step.
        constant_loss: B.
    """
    layers = layers.sort_values("layer")
    return (
        _symmetric_verdict(layers)
        or _exploding_verdict(layers, first_loss, constant_loss)
        or _vanishing_verdict(layers)
        or _unit_share_verdict(layers, "dead_fraction", "dead", "units are zero on every row")
        or _unit_share_verdict(layers, "saturated_fraction", "saturated", "slopes are under 5 % of the steepest")
        or InitVerdict("healthy", _signal_reason(layers))
    )


def majority_verdict(verdicts: Sequence[InitVerdict]) -> InitVerdict:
    """The most frequent verdict, with the reason of the first seed that has it; of equally frequent ones, the first tried."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    word = min(counts, key=lambda word: (-counts[word], get_args(InitWord).index(word)))
    reason = next(verdict.reason for verdict in verdicts if verdict.verdict == word)
    share = "" if counts[word] == len(verdicts) else f" ({counts[word]} of {len(verdicts)} seeds)"
    return InitVerdict(word, reason + share)


def _symmetric_verdict(layers: pd.DataFrame) -> InitVerdict | None:
    hidden = layers.iloc[:-1]
    # The only unit of a layer is not a copy of another.
    same = hidden.loc[(hidden["distinct_units"] == 1) & (hidden["units"] > 1), "layer"]
    if same.empty:
        return None
    return InitVerdict("symmetric", f"all units of layer {same.iloc[0]} compute the same")


def _exploding_verdict(layers: pd.DataFrame, first_loss: float, constant_loss: float) -> InitVerdict | None:
    signals = layers[["between_sample_sd", "delta_rms"]].to_numpy(dtype=np.float64)
    if not (np.isfinite(signals).all() and math.isfinite(first_loss)):
        return InitVerdict("exploding", "a signal or the first loss is not finite")
    if max(_forward_ratio(layers), _backward_ratio(layers)) > FACTOR:
        return InitVerdict("exploding", _signal_reason(layers))
    if first_loss > WORST_FIRST_LOSS * constant_loss:
        return InitVerdict("exploding", f"first loss {first_loss:.3g} against {constant_loss:.3g} for a constant")
    return None


def _vanishing_verdict(layers: pd.DataFrame) -> InitVerdict | None:
    if min(_forward_ratio(layers), _backward_ratio(layers)) >= 1 / FACTOR:
        return None
    return InitVerdict("vanishing", _signal_reason(layers))


def _unit_share_verdict(
    layers: pd.DataFrame, column: str, word: Literal["dead", "saturated"], what: str
) -> InitVerdict | None:
    shares = layers[column].astype(float).fillna(0.0).to_numpy()  # the output layer has no activation
    worst = int(shares.argmax())
    if shares[worst] <= 0.5:
        return None
    return InitVerdict(word, f"in layer {layers['layer'].iloc[worst]} {100 * shares[worst]:.0f} % of {what}")


def _signal_reason(layers: pd.DataFrame) -> str:
    last = len(layers)
    forward, backward = _forward_ratio(layers), _backward_ratio(layers)
    return f"signal x {forward:.2g} from layer 1 to {last}, gradient x {backward:.2g} from layer {last} to 1"


def _forward_ratio(layers: pd.DataFrame) -> float:
    return _ratio(layers["between_sample_sd"].iloc[-1], layers["between_sample_sd"].iloc[0])


def _backward_ratio(layers: pd.DataFrame) -> float:
    return _ratio(layers["delta_rms"].iloc[0], layers["delta_rms"].iloc[-1])


def _ratio(arrived: float, sent: float) -> float:
    """The factor by which a signal grows on its way; 0 if none arrives, whatever was sent."""
    if arrived == 0:
        return 0.0
    return math.inf if sent == 0 else float(arrived) / float(sent)
