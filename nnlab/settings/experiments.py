"""The settings of each command that trains: an experiment's, and what it varies."""

from __future__ import annotations

from nnlab.core.spec import Spec
from nnlab.settings.base import setting
from nnlab.settings.readers import (
    CountSetting,
    OptionalCountList,
    OptionalRateList,
    OptionalSpecList,
    RateList,
    Repeated,
    SeedList,
    SpecList,
    SpecSetting,
    WholeSetting,
)
from nnlab.settings.runs import ExperimentSettings


class TrainSettings(ExperimentSettings):
    """`nnlab train`: one configuration, one seed unless more are asked for."""

    epochs: CountSetting = setting(20, "Passes over the training part.")
    seeds: SeedList = setting("1", "A count (5 is 0..4) or a list (3,5,8; one: 5,).", role="arms", metavar="SEEDS")


class SweepLrSettings(ExperimentSettings):
    """`nnlab sweep-lr`: the learning rate varied."""

    lr: RateList = setting(  # type: ignore[assignment]
        "1e-3:10:16", "Learning rates: 0.01,0.1 or START:STOP:COUNT.", role="arms", metavar="RATES"
    )


class CompareSettings(ExperimentSettings):
    """What every comparison of arms can be asked."""

    baseline: str | None = setting(
        None, "Arm that the others are compared with.", role="analysis", panel="Judging", metavar="ARM"
    )
    tune_lr: OptionalRateList = setting(
        None,
        "Give each arm its best rate of these, by mean validation over tuning seeds.",
        role="arms",
        panel="Judging",
        metavar="RATES",
    )
    tuning_seeds: CountSetting = setting(
        3, "Seeds to tune by; none of them is reported.", role="arms", panel="Judging", metavar="N"
    )
    show_grid: bool = setting(
        False, "Show every rate that was tried, and crossed factors as a grid.", role="execution", panel="Output"
    )


class CompareAnySettings(CompareSettings):
    """`nnlab compare`: any setting varied."""

    vary: Repeated = setting(
        (),
        "What is varied: KEY=A,B,C. Say it again to cross factors.",
        role="arms",
        panel="Arms",
        metavar="KEY=A,B",
    )


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
        None, "Also at these widths of the hidden layers.", role="arms", panel="Arms", metavar="N,N"
    )
    depths: OptionalCountList = setting(
        None, "Also at these numbers of hidden layers.", role="arms", panel="Arms", metavar="N,N"
    )
    probe_every: WholeSetting = setting(
        0,
        "Probe the layers every so many epochs, and at the start; 0: at the start alone.",
        panel="Judging",
        metavar="N",
    )


class CompareLossSettings(CompareSettings):
    """`nnlab compare-loss`: the loss varied, each at its own best rate."""

    losses: OptionalSpecList = setting(
        None,
        "Losses to compare (default: the usual ones for the task).",
        role="arms",
        panel="Arms",
        metavar="SPEC,SPEC",
    )
    metric: str = setting(
        "auto",
        "What arms are judged by: val_accuracy or val_rmse by task.",
        role="analysis",
        panel="Judging",
        metavar="METRIC",
    )
    tune_lr: RateList = setting(
        "1e-3:1:7", "Rates that each arm is tuned over.", role="arms", panel="Judging", metavar="RATES"
    )


class CompareScheduleSettings(CompareSettings):
    """`nnlab compare-schedule`: the schedule varied, at equal budget."""

    schedules: SpecList = setting(
        "none,step,cosine,one_cycle,linear,exponential,reduce_on_plateau:patience=2",
        "Schedules to compare.",
        role="arms",
        panel="Arms",
        metavar="SPEC,SPEC",
    )
