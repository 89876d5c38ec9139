"""The settings of a run, of an experiment made of runs, and of a comparison of arms."""

from __future__ import annotations

from typing import Literal

from nnlab.core.spec import Spec
from nnlab.settings.base import Settings, setting
from nnlab.settings.readers import (
    BatchSize,
    CountSetting,
    FractionSetting,
    OptionalCount,
    OptionalNonNegative,
    OptionalPositive,
    OptionalRateList,
    OptionalSpec,
    RateSetting,
    SeedList,
    SpecSetting,
    Threshold,
    WholeSetting,
)


class RunSettings(Settings):
    """Everything that decides the numbers of one run, except its seed."""

    data: SpecSetting = setting(
        Spec("mnist1d"), "Data set: a name, a .csv, .npz or .parquet file, or FILE.py:NAME.", panel="Data"
    )
    target: str | None = setting(None, "Column to predict, for data from a file.", panel="Data", metavar="COLUMN")
    task: Literal["auto", "regression", "binary", "multiclass", "reconstruction"] = setting(
        "auto", "What to predict; auto: decided by the data; reconstruction: the inputs themselves.", panel="Data"
    )
    split: str = setting(
        "auto", "How to divide the rows: random, stratified, group:COLUMN or time:COLUMN.", panel="Data", metavar="HOW"
    )
    validation: FractionSetting = setting(
        0.2, "Fraction of the rows in the validation part; 0: no such part.", panel="Data"
    )
    test: FractionSetting = setting(
        0.2, "Fraction of the rows in the test part, if the data have no test part of their own.", panel="Data"
    )
    standardize: bool = setting(
        True, "Standardize tables by the mean and standard deviation of the training part.", panel="Data"
    )
    missing: Literal["error", "drop", "mean"] = setting("error", "What to do with empty cells.", panel="Data")
    label_noise: FractionSetting = setting(
        0.0, "Fraction of the training labels to replace by wrong ones.", panel="Data"
    )
    outliers: str | None = setting(
        None, "Add outliers to the training targets: FRACTION:scale=S.", panel="Data", metavar="FRACTION:scale=S"
    )
    class_weights: Literal["none", "balanced"] = setting("none", "Weights of the classes in the loss.", panel="Data")

    model: SpecSetting = setting(Spec("mlp", (("hidden", "100x100"),)), "Model.", panel="Model")
    activation: OptionalSpec = setting(
        None, "Activation of the hidden units (default: relu).", panel="Model", metavar="SPEC"
    )
    init: SpecSetting = setting(
        Spec("auto"), "Initial weights; auto: torch_default, or as_built for a module of your own.", panel="Model"
    )
    loss: OptionalSpec = setting(
        None, "Loss (default: cross_entropy, bce or mse, by task).", panel="Model", metavar="SPEC"
    )

    optimizer: SpecSetting = setting(Spec("sgd"), "Optimizer.")
    lr: RateSetting = setting(0.1, "Learning rate.")
    schedule: SpecSetting = setting(Spec("none"), "Learning-rate schedule.")
    warmup: WholeSetting = setting(0, "Steps of linear warm-up before the schedule.")
    epochs: CountSetting = setting(10, "Passes over the training part.")
    steps: OptionalCount = setting(None, "Stop after N steps.", metavar="N")
    batch_size: BatchSize = setting(100, "Rows per step, or full for all rows.", metavar="N|full")
    shuffle: bool = setting(True, "Shuffle the training rows before each epoch.")
    weight_decay: OptionalNonNegative = setting(None, "Weight decay (default: the optimizer's own).", metavar="X")
    clip_norm: OptionalPositive = setting(None, "Clip the gradient to this norm.", metavar="X")
    early_stop: OptionalCount = setting(
        None, "Stop a run after this many epochs without a better validation loss.", metavar="EPOCHS"
    )
    average: OptionalSpec = setting(None, "Average the weights: ema:decay=0.999.", metavar="SPEC")
    dtype: Literal["float32", "float64", "bfloat16", "mixed"] = setting(
        "float32",
        "Floating-point type; mixed: float32 weights, with autocast to bfloat16.",
        panel="Machine",
    )
    engine: Literal["auto", "native", "vmap", "loop"] = setting(
        "auto",
        "native: batched runs; vmap: any nn.Module, batched by torch.func; loop: plain PyTorch, one run at a time.",
        panel="Machine",
    )


class ExperimentSettings(RunSettings):
    """A run's settings, the seeds, and how the answer is judged."""

    seeds: SeedList = setting(
        "10", "A count (5 means 0 to 4) or a list (3,5,8; a single seed: 5,).", role="arms", metavar="SEEDS"
    )
    metric: str = setting(
        "val_loss", "Metric that arms are judged by.", role="analysis", panel="Judging", metavar="METRIC"
    )
    threshold_loss: Threshold = setting(
        "auto",
        "Loss to reach: steps_to_threshold counts the steps until then.",
        role="analysis",
        panel="Judging",
        metavar="X|auto",
    )
    device: str = setting("auto", "Device: auto, cpu, cuda, cuda:N or mps.", role="execution", panel="Machine")
    threads: OptionalCount = setting(
        None, "Groups of runs trained at once (default: one per core).", role="execution", panel="Machine", metavar="N"
    )
    deterministic: bool = setting(
        False, "Use only algorithms that give the same bits each time (cuda).", role="execution", panel="Machine"
    )
    explain: bool = setting(False, "Explain the columns of the table.", role="execution", panel="Output")


class CompareSettings(ExperimentSettings):
    """The settings of every comparison of arms."""

    baseline: str | None = setting(
        None, "Arm that the others are compared with.", role="analysis", panel="Judging", metavar="ARM"
    )
    tune_lr: OptionalRateList = setting(
        None,
        "Tune each arm's learning rate over these, by its mean metric over the tuning seeds.",
        role="arms",
        panel="Judging",
        metavar="RATES",
    )
    tuning_seeds: CountSetting = setting(
        3, "Number of tuning seeds; none of them is reported.", role="arms", panel="Judging", metavar="N"
    )
    show_grid: bool = setting(
        False, "Show every rate that was tried, and crossed factors as a grid.", role="execution", panel="Output"
    )
