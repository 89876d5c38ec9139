"""`nnlab compare-init`: the initial weights varied; the signal through the layers is probed before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nnlab.commands.command import ExperimentCommand
from nnlab.core.lazy import lazy
from nnlab.core.spec import Spec
from nnlab.experiments.study import Conclusion, Evidence, Study
from nnlab.report.results_view import comparison_grids
from nnlab.settings import CompareSettings, SpecSetting, WholeSetting, setting
from nnlab.settings.readers import OptionalCountList, SpecList
from nnlab.settings.run_records import TableCell

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from nnlab.experiments.experiment import Experiment
else:
    np = lazy("numpy")

NAME: Final = "compare-init"

# A run has trained if its loss ended this fraction below that of the best constant predictor.
TRAINED: Final = 0.05

_UNSEEN: Final = "The signal can't be followed through the layers of {}: there is no layers.csv, and the verdict is on training alone."


class CompareInitSettings(CompareSettings):
    """`nnlab compare-init`: the initial weights varied."""

    model: SpecSetting = setting(Spec("mlp", (("width", "100"), ("depth", "6"))), "Model.", panel="Model")
    inits: SpecList = setting(
        "zeros,normal:std=0.01,normal:std=0.5,normal:std=1.5,xavier_uniform,xavier_normal,kaiming_uniform,kaiming_normal,"
        "orthogonal,torch_default",
        "Inits to compare.",
        role="arms",
        panel="Arms",
        metavar="SPEC,SPEC",
    )
    widths: OptionalCountList = setting(
        None, "Compare at each of these widths of the hidden layers.", role="arms", panel="Arms", metavar="N,N"
    )
    depths: OptionalCountList = setting(
        None, "Compare at each of these numbers of hidden layers.", role="arms", panel="Arms", metavar="N,N"
    )
    probe_every: WholeSetting = setting(
        0,
        "Probe the layers at the start and every N epochs; 0: only at the start.",
        panel="Judging",
        metavar="N",
    )


def plan(settings: CompareInitSettings) -> Experiment:
    """The experiment with one arm for each init, at every width and depth asked for."""
    from nnlab.experiments.comparing import plan_comparison
    from nnlab.experiments.factors import key_factor, setting_factor

    factors = [setting_factor("init", [str(init) for init in settings.inits])]
    for key, sizes in (("width", settings.widths), ("depth", settings.depths)):
        if sizes is not None:
            factors.append(key_factor("model", key, [str(size) for size in sizes]))
    return plan_comparison(NAME, factors, settings, probes=settings.probe_every)


def conclude(experiment: Experiment, evidence: Evidence) -> Conclusion:
    """A verdict on the signal at the start for each arm, and whether it trained."""
    from nnlab.experiments.comparing import compare_arms

    layers, runs, curves = evidence.layers, evidence.runs, evidence.curves
    assert layers is not None
    if layers.empty:  # a network whose layers can't be followed one by one
        notes = [_UNSEEN.format(experiment.settings.model)]
        conclusion = compare_arms(experiment, evidence, usual={"init": experiment.settings.init.name}, notes=notes)
        rows = [dict(row) | _num_trained(runs, str(row["arm"])) for row in conclusion.summary]
        return replace(conclusion, summary=rows)
    start = curves[curves["epoch"] == 0]
    first_losses = {str(run): float(loss) for run, loss in zip(start["run_id"], start["train_loss"], strict=True)}
    verdicts = {arm.name: _verdict(layers, runs, arm.name, first_losses) for arm in experiment.arms}
    conclusion = compare_arms(experiment, evidence, usual={"init": "torch_default"}, verdicts=verdicts)
    summary = [
        dict(row) | _num_trained(runs, str(row["arm"])) | _signal(layers, str(row["arm"])) for row in conclusion.summary
    ]
    return replace(conclusion, summary=summary)


def _verdict(layers: pd.DataFrame, runs: pd.DataFrame, arm: str, first_losses: Mapping[str, float]) -> tuple[str, str]:
    """The verdict that most seeds of an arm have at the start, and why."""
    from nnlab.analysis.init_verdicts import init_verdict, majority_verdict

    start = layers[(layers["arm"] == arm) & (layers["epoch"] == 0)]
    constants = runs.set_index("run_id")["constant_loss"].astype(float).to_dict()
    each = [
        init_verdict(rows, first_loss=first_losses.get(str(run_id), float("inf")), constant_loss=constants[str(run_id)])
        for run_id, rows in start.groupby("run_id")
    ]
    found = majority_verdict(each)
    return found.verdict, found.reason


def _num_trained(runs: pd.DataFrame, arm: str) -> dict[str, TableCell]:
    """The number of an arm's runs that learned: they ended at least 5 % below the best constant predictor."""
    of_arm = runs[runs["arm"] == arm]
    done = of_arm[of_arm["status"] == "done"]
    constant = done["constant_loss"].astype(float)
    return {"n_trained": int((done["train_loss"].astype(float) < (1 - TRAINED) * constant).sum())}


def _signal(layers: pd.DataFrame, arm: str) -> dict[str, TableCell]:
    """The growth of the signal from the first to the last layer, and of the gradient back: ratios of medians over seeds."""
    start = layers[(layers["arm"] == arm) & (layers["epoch"] == 0)].astype(
        {"between_sample_sd": float, "delta_rms": float}
    )
    by_layer = start.groupby("layer")[["between_sample_sd", "delta_rms"]].median().sort_index()
    forward, back = by_layer["between_sample_sd"].to_numpy(), by_layer["delta_rms"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        return {"forward_ratio": float(forward[-1] / forward[0]), "backward_ratio": float(back[0] / back[-1])}


COMMAND: Final = ExperimentCommand(
    NAME,
    "Compare initialisations: which keeps the signal alive through the layers, and trains best?",
    CompareInitSettings,
    Study(plan, conclude),
    further_sheets=comparison_grids,
    examples=(
        "nnlab compare-init --inits xavier_normal,kaiming_normal,normal:std=0.5",
        "nnlab compare-init --depths 2,10,30 --inits kaiming_normal,orthogonal",
        "nnlab compare-init --activation tanh --probe-every 2",
    ),
)
