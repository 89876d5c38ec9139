"""Checks of several subjects as tables: the rows of gradcheck.csv and steps.csv, and notes about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Final

import pandas as pd
import torch

from nnlab.diagnostics.gradcheck.checking import check_subject
from nnlab.diagnostics.gradcheck.gradient_report import GradientRow, Method, Report
from nnlab.diagnostics.gradcheck.step_curve import StepError, curve_note, step_curve
from nnlab.diagnostics.gradcheck.subjects import Subject
from nnlab.engine.device import device_named, single_core

GRADCHECK_COLUMNS: Final = tuple(field.name for field in fields(GradientRow))
_MOST_CURVES: Final = 3


@dataclass(frozen=True, eq=False)
class CheckTables:
    """The result of a check.

    Attributes:
        rows: of gradcheck.csv.
        curves: of steps.csv, if the V was asked for: `parameter, step, error, largest_error, rounding`; an empty parameter stands
            for all tensors together.
        notes: sentences about the check.
        torch: the version of PyTorch.
        device: where the gradients under test were computed.
    """

    rows: pd.DataFrame
    curves: pd.DataFrame | None
    notes: tuple[str, ...]
    torch: str
    device: str

    @property
    def ok(self) -> bool:
        """True if no gradient is wrong."""
        return not (self.rows["verdict"] == "wrong").any()


def check_tables(subjects: Sequence[Subject], method: Method, *, with_curves: bool = False) -> CheckTables:
    """Check every subject.

    Args:
        with_curves: compute the error against the step for the first subject.

    Raises:
        UsageError: a subject that can't be called at its point, or a device that this machine does not have.
    """
    device = str(device_named(method.device, method.dtype))
    method = replace(method, device=device)
    # Thousands of small products: more threads would only wait for one another.
    with single_core():
        reports = [check_subject(subject, method) for subject in subjects]
        curves = _curves(subjects[0], reports[0]) if with_curves else {}
    rows = pd.DataFrame([asdict(row) for report in reports for row in report.rows], columns=list(GRADCHECK_COLUMNS))
    points = [{"parameter": name, **asdict(point)} for name, curve in curves.items() for point in curve]
    notes = tuple(_notes(method, reports, curves))
    return CheckTables(rows, pd.DataFrame(points) if curves else None, notes, torch.__version__, device)


def check_size(subjects: Sequence[Subject], method: Method) -> dict[str, int]:
    """The numbers of subjects, tensors and entries that a check would compare."""
    sizes = [tensor.numel() for subject in subjects for tensor in subject.point.values()]
    compared = sum(sizes if method.sample is None else (min(size, method.sample) for size in sizes))
    return {"subjects": len(subjects), "tensors": len(sizes), "entries": compared}


def _curves(subject: Subject, report: Report) -> dict[str, tuple[StepError, ...]]:
    """The error against the step for the first wrong tensors; for all tensors together, under an empty name, if none is wrong."""
    wrong = list(dict.fromkeys(row.parameter for row in report.wrong if row.parameter))[:_MOST_CURVES]
    return {name: step_curve(subject, name) for name in wrong} or {"": step_curve(subject)}


def _notes(method: Method, reports: Sequence[Report], curves: Mapping[str, tuple[StepError, ...]]) -> Iterator[str]:
    if method.is_low:
        yield (
            f"Reference: float64 on the CPU at the same point. Tolerances follow {method.dtype}'s rounding and the"
            " condition of each sum: small tensors of large terms are allowed more."
        )
    if method.sample is not None:
        yield f"{method.sample} entries of each tensor, and {method.directions} directions through all of them."
    for name, curve in curves.items():
        yield curve_note(name, curve)
    if len(reports) == 1:
        yield f"Rounding moves {reports[0].subject} by up to {reports[0].noise:.2g}."
