"""The method of a gradient check, and its result: the rows of gradcheck.csv. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from nnlab.core.errors import UsageError, unknown_name
from nnlab.core.spelling import mention

GradientVerdict = Literal["ok", "kink", "wrong"]

CHECKS: Final = ("reverse", "forward", "second", "undefined", "batched")
DTYPES: Final = ("float64", "float32", "bfloat16", "float16")
# A power of two near eps^(1/4.4): the h^4 term that Richardson leaves and the rounding of f, eps / h, are both about 1e-12.
STEP: Final = 2.0**-12
# Differences in float64 are accurate to 1e-9 or better on anything that a network computes; a bug changes far more.
TOLERANCE: Final = 1e-6


@dataclass(frozen=True)
class Method:
    """The method of a gradient check.

    Attributes:
        checks: of CHECKS: reverse mode, forward mode, second order, undefined and batched upstream gradients.
        step: relative step of the differences. The step of an entry is this times the entry's size, or times the tensor's root mean
            square if that is larger.
        sample: the number of entries compared in every tensor; None for all. Random directions then check the other entries.
        directions: the number of these directions.
        dtype: the precision under test; the reference is float64 on the CPU.
        device: where the gradient under test is computed.
        tolerance: relative, in float64.
        seed: for the weights, the sample, the directions and the draws of a stochastic layer.
    """

    checks: tuple[str, ...] = ("reverse",)
    step: float = STEP
    sample: int | None = None
    directions: int = 4
    dtype: str = "float64"
    device: str = "cpu"
    tolerance: float = TOLERANCE
    seed: int = 0

    def __post_init__(self) -> None:
        for check in self.checks:
            if check not in CHECKS:
                raise unknown_name(mention("checks"), check, CHECKS)
        if self.dtype not in DTYPES:
            raise unknown_name(mention("dtype"), self.dtype, DTYPES)
        if not 0 < self.step < 1:
            raise UsageError(f"{mention('step')} takes a number between 0 and 1, not {self.step!r}; 1e-4 is usual.")
        if self.sample is not None and self.sample < 1:
            raise UsageError(f"{mention('sample')} takes a count of 1 or more, not {self.sample!r}.")

    @property
    def is_low(self) -> bool:
        """True if the gradient under test is computed in a precision other than float64, or not on the CPU."""
        return self.dtype != "float64" or self.device != "cpu"


@dataclass(frozen=True)
class GradientRow:
    """The result of one check of one tensor: a row of gradcheck.csv.

    Attributes:
        shape: `4x3`; empty for a scalar.
        entries: the number of entries, or of directions, compared.
        max_abs_error: the largest |analytic - numeric|.
        max_rel_error: the largest |analytic - numeric| / max(|analytic|, |numeric|, floor).
        tolerance: the largest max_rel_error allowed.
        worst_index: `2,1`; for a complex tensor followed by `real` or `imag`; empty for directions.
        analytic: the given gradient in the worst entry; numeric: from differences.
        cause: the likely bug, or why a kink passes.
    """

    subject: str
    check: str
    parameter: str
    shape: str
    entries: int
    max_abs_error: float
    max_rel_error: float
    tolerance: float
    worst_index: str
    analytic: float
    numeric: float
    verdict: GradientVerdict
    cause: str


@dataclass(frozen=True)
class Report:
    """The result of the checks of one subject.

    Attributes:
        rows: one for each check and tensor.
        kinds: the kind of cause of every row whose cause was found, by (check, parameter).
        evaluation: how the differences were evaluated: `vmap` or `loop`.
        noise: the absolute change of the function by rounding.
    """

    subject: str
    rows: tuple[GradientRow, ...]
    kinds: Mapping[tuple[str, str], str]
    evaluation: str
    noise: float

    @property
    def ok(self) -> bool:
        """True if no gradient is wrong."""
        return not self.wrong

    @property
    def wrong(self) -> tuple[GradientRow, ...]:
        """The rows with a wrong gradient."""
        return tuple(row for row in self.rows if row.verdict == "wrong")

    def row(self, parameter: str, check: str = "reverse") -> GradientRow:
        """The row of one tensor."""
        return next(row for row in self.rows if (row.parameter, row.check) == (parameter, check))

    def text(self) -> str:
        """The report in words: every wrong tensor with its worst entry and the likely cause, or one line if all are right."""
        if self.ok:
            return f"{self.subject}: every gradient is right ({len(self.rows)} checked)."
        return "\n".join(
            [f"{self.subject}: {len(self.wrong)} of {len(self.rows)} gradients are wrong.", *map(row_text, self.wrong)]
        )


def row_text(row: GradientRow) -> str:
    """One row in words: the place, the error and the cause."""
    if not row.parameter:
        return f"  {row.check}: {row.cause}"
    place = f"{row.parameter}[{row.worst_index}]" if row.worst_index else row.parameter
    return (
        f"  {place} ({row.check}): given {row.analytic:.8g}, differences say {row.numeric:.8g}, "
        f"relative error {row.max_rel_error:.2g} (tolerance {row.tolerance:.1g}). {row.cause}"
    )
