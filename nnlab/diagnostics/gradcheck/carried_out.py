"""The check of gradients carried out: its subjects made, asked, and told as rows. The part that needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace

import pandas as pd
import torch
from torch import nn

from nnlab.catalog.custom import load
from nnlab.catalog.inits import INITS
from nnlab.commands.gradcheck import Check
from nnlab.core.errors import NnlabError, UsageError
from nnlab.core.rng import stream_seed
from nnlab.core.spec import Spec, parse_spec
from nnlab.core.spelling import mention
from nnlab.diagnostics.gradcheck.checking import check_subject
from nnlab.diagnostics.gradcheck.gradient_report import GradientRow, Report
from nnlab.diagnostics.gradcheck.known_subjects import catalogue_subjects
from nnlab.diagnostics.gradcheck.step_curve import step_curve
from nnlab.diagnostics.gradcheck.subjects import Subject, drawn_inputs, of_function, of_module
from nnlab.engine.device import device_named, single_core
from nnlab.engine.looped import plain_loss
from nnlab.engine.modules import load_tensors, module_of
from nnlab.engine.program import program_of
from nnlab.engine.sources import Sources
from nnlab.engine.starting import starting_weights
from nnlab.ingredients.resolve import complete_settings, settings_for_data
from nnlab.settings import RunSettings
from nnlab.settings.run_records import Run

COLUMNS = tuple(field.name for field in fields(GradientRow))

# Layers of units, from every init.
_MODELS = (
    "linear",
    "neuron",
    "mlp:hidden=5x4",
    "mlp:hidden=5x5:residual=true:norm=layer",
    "mlp:hidden=5:norm=batch",
    "mlp:hidden=5:dropout=0.3",
)
# Every other kind of layer, from PyTorch's own init.
_OTHER_MODELS = (
    "point",
    "conv1d:channels=2:kernel=3:padding=1:pool=max:pool_size=2:norm=batch",
    "rnn:hidden=2",
    "gru:hidden=2:bidirectional=true",
    "lstm:hidden=2",
    "transformer:width=4:heads=2:depth=1:feedforward=4",
)
_MODEL_DATA = Spec("blobs", (("samples", "40"),))
_MOST_CURVES = 3
_DEEP = 1e-6  # below this the V has a foot


@dataclass(frozen=True, eq=False)
class Checked:
    """What a check found.

    Attributes:
        rows: of gradcheck.csv.
        curves: of steps.csv, where the V was asked for: `parameter, step, error, largest_error, rounding`.
        notes: sentences on how it was computed.
        torch: the version of what computed it.
        device: where the gradients under test were computed.
        data_hash: of the data, where a model was checked.
    """

    rows: pd.DataFrame
    curves: pd.DataFrame | None
    notes: tuple[str, ...]
    torch: str
    device: str
    data_hash: str | None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.rows["verdict"] == "wrong").any()


def checked(check: Check) -> Checked:
    """Check every subject.

    Raises:
        UsageError: a subject that can't be made or called, a device that is not there.
    """
    device = str(device_named(check.method.device, check.method.dtype))
    method = replace(check.method, device=device)
    sources = Sources()
    made = subjects(check, sources)
    # Small products by the thousand: more threads would only wait for one another.
    with single_core():
        reports = [check_subject(subject, method) for subject in made]
        curves = step_curves(made[0], reports[0]) if check.settings.explain_step else None
    rows = pd.DataFrame([asdict(row) for report in reports for row in report.rows], columns=list(COLUMNS))
    data_hash = None if check.run is None else sources.dataset(check.run).fingerprint()
    return Checked(rows, curves, _notes(check, reports, curves), torch.__version__, device, data_hash)


def entries(check: Check) -> dict[str, int]:
    """How much a check would look at."""
    made = subjects(check, Sources())
    sizes = [tensor.numel() for subject in made for tensor in subject.point.values()]
    most = check.method.sample
    asked = sum(sizes if most is None else (min(size, most) for size in sizes))
    return {"subjects": len(made), "tensors": len(sizes), "entries": asked}


def subjects(check: Check, sources: Sources) -> list[Subject]:
    """What is checked, by name."""
    if check.run is not None:
        return [model_subject(check.run, sources, rows=check.settings.rows, seed=check.seed)]
    if check.kind == "catalogue":
        return [*catalogue_subjects(), *_every_model(sources, check.seed)]
    return [_own(check)]


def _every_model(sources: Sources, seed: int) -> Iterator[Subject]:
    asked = [(text, init) for text in _MODELS for init in INITS]
    for text, init in [*asked, *((text, "torch_default") for text in _OTHER_MODELS)]:
        settings = RunSettings(
            model=parse_spec(text, what=mention("model")), init=Spec(init), data=_MODEL_DATA, validation=0, test=0
        )
        subject = model_subject(complete_settings(settings), sources, rows=4, seed=seed)
        yield replace(subject, name=f"model {text} from {init}")


def model_subject(settings: RunSettings, sources: Sources, *, rows: int, seed: int) -> Subject:
    """The mean loss of a model on the first rows of the training part, by its parameters and by its inputs.

    Weights are those that a run of this seed would start from.

    Args:
        settings: complete but for the loss where it goes by the task.
        sources: of the data.
        rows: how many.
    """
    settings = settings_for_data(settings, sources.dataset(settings))
    run = Run("", str(settings.model), seed, settings)
    program = program_of(run, sources.shape(run))
    train = sources.parts(settings, seed).train
    x = torch.from_numpy(train.x).double()
    # Masks from PyTorch's own generator, which the check can start again: one mask for every evaluation.
    module = module_of(program.layers, torch.default_generator).double()
    load_tensors(module, starting_weights(program, run, x))
    target = torch.from_numpy(train.y[:rows]).to(torch.int64 if program.has_class_targets else torch.float64)
    return of_module(module, [x[:rows]], loss=plain_loss(program), target=target, name=str(settings.model))


def _own(check: Check) -> Subject:
    """A person's function or module at inputs drawn for it."""
    settings = check.settings
    assert settings.input is not None
    inputs = drawn_inputs(settings.input, domain=check.domain, complex_values=settings.complex_inputs, seed=check.seed)
    if settings.module is not None:
        return of_module(_module(settings.module, check.seed).double(), inputs, name=settings.module)
    assert settings.function is not None
    function = load(settings.function, what=mention("function"))
    if isinstance(function, nn.Module) or (isinstance(function, type) and issubclass(function, nn.Module)):
        raise UsageError(f"{mention('function')} {settings.function!r} is an nn.Module. Say {mention('module')}.")
    if not callable(function):
        raise UsageError(f"{mention('function')} {settings.function!r} is no function but a {type(function).__name__}.")
    return of_function(function, inputs, name=settings.function)


def _module(name: str, seed: int) -> nn.Module:
    """The module that `name` stands for: itself, or what it makes when it is called without arguments."""
    made = load(name, what=mention("module"))
    if not isinstance(made, nn.Module) and callable(made):
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(stream_seed(seed, "init"))
                made = made()
        except NnlabError:
            raise
        except Exception as error:
            # Whatever a person's own code raises is theirs to be told of.
            raise UsageError(
                f"{mention('module')} {name!r} can't be made without arguments: {type(error).__name__}: {error}. "
                "Name a function that makes it."
            ) from error
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"{mention('module')} {name!r} gives a {type(made).__name__}, no nn.Module. Say {mention('function')} for a function."
        )
    return made


def step_curves(subject: Subject, report: Report) -> pd.DataFrame:
    """The error against the step, of each suspect, or of the whole gradient where there is none.

    Returns: rows `parameter, step, error, largest_error, rounding`; an empty parameter is all tensors together.
    """
    suspects = list(dict.fromkeys(row.parameter for row in report.wrong if row.parameter))[:_MOST_CURVES]
    curves = {name: step_curve(subject, name) for name in suspects} or {"": step_curve(subject)}
    return pd.DataFrame([{"parameter": name, **asdict(point)} for name, curve in curves.items() for point in curve])


def _notes(check: Check, reports: list[Report], curves: pd.DataFrame | None) -> tuple[str, ...]:
    method, found = check.method, []
    if method.is_low:
        found.append(
            f"Reference: float64 on the CPU at the same point. Tolerances follow {method.dtype}'s rounding and the"
            " condition of each sum: small tensors of large terms are allowed more."
        )
    if method.sample is not None:
        found.append(f"{method.sample} entries of each tensor, and {method.directions} directions through all of them.")
    if curves is not None:
        found += [_foot(name, part) for name, part in curves.groupby("parameter", sort=False)]
    if check.kind != "catalogue":
        found.append(f"Rounding moves {reports[0].subject} by up to {reports[0].noise:.2g}.")
    return tuple(found)


def _foot(name: object, curve: pd.DataFrame) -> str:
    """Where the V has its foot, or that there is none."""
    foot = int(curve["error"].to_numpy().argmin())
    error, step = float(curve["error"].iloc[foot]), float(curve["step"].iloc[foot])
    what = name or "All tensors together"
    if error < _DEEP:
        return f"{what}: the least error, {error:.2g}, is at step {step:.0e}: the foot of a V, as a right gradient has."
    return f"{what}: no step brings the error below {error:.2g}: a plateau, as a wrong gradient has, or a kink."
