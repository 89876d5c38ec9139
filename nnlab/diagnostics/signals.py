"""The signal in a network: what reaches every layer going forward, and what gradient comes back to it.

    z_l = W_l h + b_l, the pre-activation of linear layer l = 1..L; layer L gives the scores
    forward:  A_l = sqrt(mean over units of the variance over rows of z_l)
    backward: D_l = root mean square of dL/dz_l, L the mean loss over the probe's rows

Of many runs at once, in float64 on the CPU, from copies: training can't tell that it was looked at. The network is the one that a
training step sees (batch norm takes the probe's own statistics) but for dropout, which lets everything through.

Shapes: R runs, N rows of the probe, D inputs of a layer, H its units, C scores, L linear layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nnlab.catalog.losses import Loss
from nnlab.catalog.models import Layers, parameters
from nnlab.core.kinds import Value
from nnlab.diagnostics.passes import Pass, forward
from nnlab.diagnostics.slopes import shape_of

# Of layers.csv, after `run_id, arm, seed, epoch, layer, layer_name`.
COLUMNS: Final = (
    "preactivation_second_moment",
    "predicted_second_moment",
    "between_sample_sd",
    "activation_mean",
    "dead_fraction",
    "saturated_fraction",
    "delta_rms",
    "weight_gradient_norm",
    "update_ratio",
    "distinct_units",
    "units",
)
PROBE_ROWS: Final = 512
