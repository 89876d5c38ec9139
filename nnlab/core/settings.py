"""The settings of an experiment: frozen, checked, each with the place its value came from.

A setting is declared once, here: its name is its key in TOML, its flag with dashes (`batch_size` is `--batch-size`), and its
environment variable in capitals (`NNLAB_BATCH_SIZE`). Its role says what a change of it does:

    training    changes a run's numbers: part of the run's identity
    arms        lists what is varied: each level is a run of its own
    analysis    changes how finished runs are judged, not the runs
    execution   changes where or how fast runs are computed, and no more
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, ValidationInfo

from nnlab.core.errors import UsageError, did_you_mean
from nnlab.core.kinds import Value, parse_value, spelled
from nnlab.core.spec import Spec, parse_rate, parse_rates, parse_seeds, parse_spec, split_list

Role = Literal["training", "arms", "analysis", "execution"]
Task = Literal["regression", "binary", "multiclass"]
Origin = Literal["flag", "environment", "file", "default"]


def flag(name: str) -> str:
    """The command-line spelling of a setting."""
    return "--" + name.replace("_", "-")


def _text(value: object) -> str:
    """A value from TOML or Python in the spelling that the grammar reads: `[0.1, 0.2]` is `0.1,0.2`."""
    if isinstance(value, list | tuple):
        return ",".join(_text(part) for part in value) + ("," if len(value) == 1 else "")
    return spelled(value)


def _reader(read: Callable[[str, str], object]) -> BeforeValidator:
    def validate(value: object, info: ValidationInfo) -> object:
        if value is None or isinstance(value, Spec):
            return value
        return read(_text(value), flag(info.field_name or ""))

    return BeforeValidator(validate)


def _kind(kind: str) -> BeforeValidator:
    def read(text: str, what: str) -> Value:
        return parse_value(kind, text, what=what)

    return _reader(read)


def _single(parse: Callable[..., object]) -> BeforeValidator:
    return _reader(lambda text, what: parse(text.removesuffix(","), what=what))


def _several(parse: Callable[..., object]) -> BeforeValidator:
    return _reader(lambda text, what: parse(text, what=what))


def _specs(text: str, *, what: str) -> tuple[Spec, ...]:
    return tuple(parse_spec(part, what=what) for part in split_list(text, what=what))


def _batch(text: str, *, what: str) -> int | str:
    if text == "full":
        return text
    try:
        return int(parse_value("Count", text, what=what))  # type: ignore[arg-type]
    except UsageError:
        raise UsageError(f"{what} takes a whole number of 1 or more, or full, not {text!r}.") from None


def _threshold(text: str, *, what: str) -> float | str:
    if text == "auto":
        return text
    return float(parse_value("Number", text, what=what))  # type: ignore[arg-type]


def _counts(text: str, *, what: str) -> tuple[int, ...]:
    return tuple(int(parse_value("Count", part, what=what)) for part in split_list(text, what=what))  # type: ignore[arg-type]


_SPELLED: Final = PlainSerializer(str)
SpecSetting = Annotated[Spec, _single(parse_spec), _SPELLED]
SpecList = Annotated[tuple[Spec, ...], _several(_specs), PlainSerializer(lambda specs: [str(spec) for spec in specs])]
RateSetting = Annotated[float, _single(parse_rate)]
RateList = Annotated[tuple[float, ...], _several(parse_rates)]
SeedList = Annotated[tuple[int, ...], _reader(lambda text, what: parse_seeds(text, what=what))]
BatchSize = Annotated[int | Literal["full"], _single(_batch)]
Threshold = Annotated[float | Literal["auto"], _single(_threshold)]
CountSetting = Annotated[int, _kind("Count")]
WholeSetting = Annotated[int, _kind("Whole")]
FractionSetting = Annotated[float, _kind("Fraction")]
PositiveSetting = Annotated[float, _kind("Positive")]
NonNegativeSetting = Annotated[float, _kind("NonNegative")]


def setting(default: Any, words: str, *, role: Role = "training", panel: str = "Training", metavar: str = "") -> Any:
    """A field: its default, its help in one line, what it decides, and the panel of `--help` it stands in."""
    extra = {"role": role, "panel": panel, "metavar": metavar}
    return Field(default=default, description=words, json_schema_extra=extra, validate_default=True)  # type: ignore[arg-type]


class Settings(BaseModel):
    """What every kind of settings shares: frozen, unknown keys refused, built from layers of given values."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @classmethod
    def checked(cls, values: Mapping[str, object]) -> Self:
        """Settings from values as a person wrote them (text, or what TOML and Python have for it).

        Raises:
            UsageError: an unknown name, or a value that can't be what is meant.
        """
        for name in values:
            if name not in cls.model_fields:
                near = did_you_mean(name, cls.model_fields)
                raise UsageError(
                    f"{name!r} is not a setting of this command.{near} Accepted: {', '.join(cls.model_fields)}."
                )
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            message = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"{flag(name)}: {message}, not {first['input']!r}.") from None

    @classmethod
    def with_role(cls, role: Role) -> tuple[str, ...]:
        """The names of the settings that have this role."""
        return tuple(name for name in cls.model_fields if cls.role_of(name) == role)

    @classmethod
    def role_of(cls, name: str) -> Role:
        """What a change of the setting `name` does."""
        extra = cls.model_fields[name].json_schema_extra
        assert isinstance(extra, dict)
        return extra["role"]  # type: ignore[return-value]

    def spelled(self) -> dict[str, object]:
        """Every setting in JSON's types, as the manifest has it and `--config` reads it back."""
        return {name: value for name, value in self.model_dump(mode="json").items() if value is not None}


class RunSettings(Settings):
    """Everything that decides the numbers of one run, but its seed."""

    data: SpecSetting = setting(Spec("mnist1d"), "Data set: a name, or a .csv, .npz or .parquet file.", panel="Data")
    target: str | None = setting(None, "Column of the file to predict.", panel="Data", metavar="COLUMN")
    task: Literal["auto", "regression", "binary", "multiclass"] = setting(
        "auto", "What is predicted; auto asks the data.", panel="Data"
    )
    split: str = setting("auto", "random, stratified, group:COLUMN or time:COLUMN.", panel="Data", metavar="HOW")
    validation: FractionSetting = setting(0.2, "Part of the rows to choose by; 0 for none.", panel="Data")
    test: FractionSetting = setting(0.2, "Part of the rows to report on, where the data has none.", panel="Data")
    standardize: bool = setting(True, "Scale tables by their training part.", panel="Data")
    missing: Literal["error", "drop", "mean"] = setting("error", "What to do with empty cells.", panel="Data")
    label_noise: FractionSetting = setting(0.0, "Part of the training labels to make wrong.", panel="Data")
    outliers: str | None = setting(
        None, "Training targets to disturb: FRACTION:scale=S.", panel="Data", metavar="FRACTION:scale=S"
    )
    class_weights: Literal["none", "balanced"] = setting("none", "Weigh the classes of the loss.", panel="Data")

    model: SpecSetting = setting(Spec("mlp", (("hidden", "100x100"),)), "Model.", panel="Model")
    activation: Annotated[Spec | None, _single(parse_spec), PlainSerializer(lambda s: s and str(s))] = setting(
        None, "Activation of the hidden units (default: relu).", panel="Model", metavar="SPEC"
    )
    init: SpecSetting = setting(Spec("torch_default"), "Initial weights.", panel="Model")
    loss: Annotated[Spec | None, _single(parse_spec), PlainSerializer(lambda s: s and str(s))] = setting(
        None, "Loss (default: cross_entropy, bce or mse by task).", panel="Model", metavar="SPEC"
    )

    optimizer: SpecSetting = setting(Spec("sgd"), "Optimizer.")
    lr: RateSetting = setting(0.1, "Learning rate.")
    schedule: SpecSetting = setting(Spec("none"), "Schedule of the learning rate.")
    warmup: WholeSetting = setting(0, "Steps of linear warm-up before the schedule.")
    epochs: CountSetting = setting(10, "Passes over the training part.")
    steps: Annotated[int | None, _kind("Count")] = setting(None, "Stop after so many steps.", metavar="N")
    batch_size: BatchSize = setting(100, "Rows a step, or full.", metavar="N|full")
    shuffle: bool = setting(True, "Draw a new order of the rows every epoch.")
    weight_decay: Annotated[float | None, _kind("NonNegative")] = setting(
        None, "Weight decay of the optimizer (default: its own).", metavar="X"
    )
    clip_norm: Annotated[float | None, _kind("Positive")] = setting(None, "Clip the gradient's norm.", metavar="X")
    early_stop: Annotated[int | None, _kind("Count")] = setting(
        None, "Stop a run after so many epochs without a better validation loss.", metavar="EPOCHS"
    )
    average: Annotated[Spec | None, _single(parse_spec), PlainSerializer(lambda s: s and str(s))] = setting(
        None, "Weight averaging: ema:decay=0.999.", metavar="SPEC"
    )
    dtype: Literal["float32", "float64", "bfloat16"] = setting("float32", "Floating point type.", panel="Machine")
    engine: Literal["auto", "native", "loop"] = setting(
        "auto", "native: runs batched; loop: plain PyTorch, one by one.", panel="Machine"
    )


class ExperimentSettings(RunSettings):
    """A run's settings, the seeds, and how the answer is judged."""

    seeds: SeedList = setting("10", "A count (5 is 0..4) or a list (3,5,8; one: 5,).", role="arms", metavar="SEEDS")
    metric: str = setting("val_loss", "What arms are judged by.", role="analysis", panel="Judging", metavar="METRIC")
    threshold_loss: Threshold = setting(
        "auto", "Loss that steps_to_threshold counts to.", role="analysis", panel="Judging", metavar="X|auto"
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps.", role="execution", panel="Machine")
    threads: Annotated[int | None, _kind("Count")] = setting(
        None, "Tiles computed at once (default: one a core).", role="execution", panel="Machine", metavar="N"
    )
    explain: bool = setting(False, "Say what the columns of the table mean.", role="execution", panel="Output")


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
    tune_lr: Annotated[tuple[float, ...] | None, _several(parse_rates)] = setting(
        None,
        "Give each arm its best rate of these, by mean validation over tuning seeds.",
        role="arms",
        panel="Judging",
        metavar="RATES",
    )
    tuning_seeds: CountSetting = setting(
        3, "Seeds to tune by; none of them is reported.", role="arms", panel="Judging", metavar="N"
    )
    show_grid: bool = setting(False, "Show every arm at every rate that was tried.", role="execution", panel="Output")


class CompareAnySettings(CompareSettings):
    """`nnlab compare`: any setting varied."""

    vary: Annotated[tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)] = (
        setting(
            (),
            "What is varied: KEY=A,B,C. Say it again to cross factors.",
            role="arms",
            panel="Arms",
            metavar="KEY=A,B",
        )
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
    widths: Annotated[tuple[int, ...] | None, _several(_counts)] = setting(
        None, "Also at these widths of the hidden layers.", role="arms", panel="Arms", metavar="N,N"
    )
    depths: Annotated[tuple[int, ...] | None, _several(_counts)] = setting(
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

    losses: Annotated[
        tuple[Spec, ...] | None,
        _several(_specs),
        PlainSerializer(lambda specs: specs and [str(spec) for spec in specs]),
    ] = setting(
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


def _names(text: str, *, what: str) -> tuple[str, ...]:
    return split_list(text, what=what)


def _numbers(text: str, *, what: str) -> tuple[float, ...]:
    """Numbers separated by commas; unlike levels of a factor they may be equal."""
    parts = text.removesuffix(",").split(",")
    return tuple(float(parse_value("Number", part.strip(), what=what)) for part in parts)  # type: ignore[arg-type]


OptionalSpec = Annotated[Spec | None, _single(parse_spec), PlainSerializer(lambda s: s and str(s))]
OptionalNumbers = Annotated[tuple[float, ...] | None, _several(_numbers)]
OptionalNumber = Annotated[float | None, _kind("Number")]


class GradcheckSettings(Settings):
    """`nnlab gradcheck`: what is checked, how closely, or what is explained. Nothing named: the whole catalogue."""

    model: OptionalSpec = setting(
        None,
        "Model, with a loss and rows of data (default: mlp:hidden=100x100).",
        panel="What is checked",
        metavar="SPEC",
    )
    activation: OptionalSpec = setting(
        None, "Its activation (default: relu; --explain: sigmoid).", panel="What is checked", metavar="SPEC"
    )
    init: OptionalSpec = setting(None, "Its weights (default: torch_default).", panel="What is checked", metavar="SPEC")
    loss: OptionalSpec = setting(
        None, "Its loss (default: cross_entropy, bce or mse by task).", panel="What is checked", metavar="SPEC"
    )
    data: OptionalSpec = setting(None, "Its data (default: mnist1d).", panel="What is checked", metavar="SPEC")
    target: str | None = setting(None, "Column of the file to predict.", panel="What is checked", metavar="COLUMN")
    rows: CountSetting = setting(4, "So many rows of the data.", panel="What is checked", metavar="N")
    function: str | None = setting(
        None,
        "A function, or a torch.autograd.Function, of the --input.",
        panel="What is checked",
        metavar="FILE.py:NAME",
    )
    module: str | None = setting(
        None, "An nn.Module, its class, or what makes it.", panel="What is checked", metavar="FILE.py:NAME"
    )
    input: str | None = setting(
        None, "Shapes of the inputs: 4x3,5 (scalar: no dimension).", panel="What is checked", metavar="SHAPES"
    )
    domain: str | None = setting(
        None, "Keep inputs where the function is defined: 0.1:2.", panel="What is checked", metavar="LOW:HIGH"
    )
    complex_inputs: bool = setting(False, "Draw complex inputs.", panel="What is checked")

    checks: Annotated[tuple[str, ...], _several(_names)] = setting(
        "reverse", "Of reverse, forward, second, undefined, batched.", panel="How", metavar="NAME,NAME"
    )
    order: CountSetting = setting(1, "2: second derivatives as well.", panel="How", metavar="1|2")
    step: Annotated[float | None, _kind("Positive")] = setting(
        None, "Relative step of the differences (default: 2^-12).", panel="How", metavar="X"
    )
    sample: Annotated[int | None, _kind("Count")] = setting(
        None, "Ask N entries of every tensor, and random directions (default: every entry).", panel="How", metavar="N"
    )
    directions: CountSetting = setting(4, "So many directions.", panel="How", metavar="N")
    tolerance: PositiveSetting = setting(1e-6, "Relative error allowed in float64.", panel="How", metavar="X")
    dtype: Literal["float64", "float32", "bfloat16", "float16"] = setting(
        "float64", "Precision to check; float64 on the CPU is the reference.", panel="How"
    )
    device: str = setting("cpu", "Device to check: auto, cpu, cuda, cuda:N or mps.", panel="How")
    seed: Annotated[int | None, _kind("Whole")] = setting(
        None, "Seed of weights, inputs and samples (default: 0; --explain: 2).", panel="How", metavar="N"
    )

    explain_step: bool = setting(False, "Show the error against the step: a V if right.", panel="Explaining")
    explain: bool = setting(False, "A small net forward and back, number by number.", panel="Explaining")
    chain: str | None = setting(
        None, "The same of formulas: 'h=X*Y+X; X=sin(t); Y=t**2'.", panel="Explaining", metavar="FORMULAS"
    )
    at: str | None = setting(None, "Where: t=0.7,u=2.", panel="Explaining", metavar="NAME=X")
    all: bool = setting(False, "Every row of a long table.", role="execution", panel="Output")


class NeuronSettings(Settings):
    """`nnlab neuron`: one neuron, one row of data or a gate."""

    weights: OptionalNumbers = setting(
        None, "One for each input (default: 0.5,-1; --gate: 0,0).", panel="Neuron", metavar="X,X"
    )
    bias: OptionalNumber = setting(None, "Bias (default: 0.1; --gate: 0).", panel="Neuron", metavar="X")
    activation: SpecSetting = setting(Spec("sigmoid"), "Activation.", panel="Neuron")
    input: OptionalNumbers = setting(None, "The row of data (default: 1,2).", panel="Neuron", metavar="X,X")
    target: OptionalNumber = setting(None, "What the output should be (default: 1).", panel="Neuron", metavar="X")
    loss: OptionalSpec = setting(None, "Loss of output and target (default: mse).", panel="Neuron", metavar="SPEC")
    lr: Annotated[float | None, _single(parse_rate)] = setting(
        None, "Learning rate (default: 0.5; --gate: 1).", metavar="X"
    )
    train: Annotated[int | None, _kind("Count")] = setting(
        None, "Steps to take (default: 1; --gate: at most 1000 passes over its rows).", metavar="N"
    )
    gate: Literal["and", "or", "xor"] | None = setting(None, "Learn a gate: and, or or xor.", metavar="GATE")
    all: bool = setting(False, "Every row of a long table.", role="execution", panel="Output")


class DisplaySettings(Settings):
    """How an answer looks: nothing here changes a number or a file."""

    format: Literal["auto", "table", "csv", "json", "jsonl", "markdown"] = setting(
        "auto", "auto: a table for a terminal, CSV for a pipe.", role="execution", panel="Output"
    )
    quiet: bool = setting(False, "No progress, no notes.", role="execution", panel="Output")
    no_color: bool = setting(False, "No colour.", role="execution", panel="Output")


class OutputSettings(DisplaySettings):
    """Where the answer goes and how it looks: nothing here changes a number."""

    out: str | None = setting(None, "Directory for the results.", role="execution", panel="Output", metavar="DIR")
    name: str | None = setting(
        None, "Name of the directory under results/COMMAND/.", role="execution", panel="Output", metavar="NAME"
    )
    dry_run: bool = setting(False, "Show what would be run, and its cost.", role="execution", panel="Output")
    fresh: bool = setting(False, "Set old results aside and start again.", role="execution", panel="Output")
    verbose: bool = setting(False, "Say on stderr what is done, and how.", role="execution", panel="Output")


class GradcheckOutputSettings(OutputSettings):
    """A check may also answer a build server."""

    format: Literal["auto", "table", "csv", "json", "jsonl", "markdown", "junit"] = setting(  # type: ignore[assignment]
        "auto", "auto: a table for a terminal, CSV for a pipe.", role="execution", panel="Output"
    )
