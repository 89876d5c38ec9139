"""Controlled comparisons: one factor varied, everything else held, seeds paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nnlab.catalog.dataset import Dataset
from nnlab.catalog.losses import loss_named
from nnlab.core.errors import UsageError, did_you_mean
from nnlab.core.kinds import spelled
from nnlab.core.settings import (
    CompareAnySettings,
    CompareLossSettings,
    CompareScheduleSettings,
    CompareSettings,
    Task,
)
from nnlab.studies.experiment import Arm, Experiment, Tuning, run_settings
from nnlab.studies.factors import Factor, crossed, setting_factor, varied
from nnlab.studies.judging import judged
from nnlab.studies.resolve import digest, fitted_to, identity, prepared, resolved
from nnlab.studies.study import Cell, Conclusion, Facts

if TYPE_CHECKING:
    import pandas as pd

# Losses in their own unit tell nothing between losses.
OWN_UNITS: Final = ("train_loss", "batch_loss", "val_loss", "test_loss")

_USUAL_LOSSES: Final[Mapping[Task, tuple[str, ...]]] = {
    "regression": ("mse", "l1", "huber", "log_cosh"),
    "binary": ("bce", "cross_entropy", "hinge", "focal", "mse"),
    "multiclass": ("cross_entropy", "hinge", "focal", "mse"),
}
_METRIC_OF_TASK: Final[Mapping[Task, str]] = {
    "regression": "val_rmse",
    "binary": "val_accuracy",
    "multiclass": "val_accuracy",
}


def comparison(
    command: str, factors: Sequence[Factor], settings: CompareSettings, *, probes: int | None = None
) -> Experiment:
    """The experiment whose arms are every combination of the factors' levels.

    Args:
        command: whose it is.
        factors: what is varied; at least one.
        settings: as given; what the arms have in common.
        probes: epochs between probes of the layers; None for none.

    Raises:
        UsageError: an arm that can't be trained, fewer than two arms, a baseline that is none of them.
    """
    complete, dataset = prepared(settings)
    arms = tuple(
        Arm(name, fitted_to(resolved(apply(run_settings(settings))), dataset)) for name, apply in crossed(factors)
    )
    _check_arms(command, arms, settings)
    decided = [factor.decides for factor in factors]
    _check_unit(decided, settings, dataset)
    tuning = _tuning(decided, settings)
    return Experiment(
        command=command,
        factor=factors[0].name if len(factors) == 1 else "arm",
        arms=arms,
        settings=complete,
        dataset=dataset,
        varied=(*decided, *(("lr",) if tuning else ())),
        tuning=tuning,
        probes=probes,
    )


def _tuning(decided: Sequence[str], settings: CompareSettings) -> Tuning | None:
    """The search for a rate of each arm, where one was asked for.

    Raises:
        UsageError: the rate is what is varied, or nothing is left to choose it by.
    """
    if settings.tune_lr is None:
        return None
    if "lr" in decided:
        raise UsageError("--tune-lr chooses the rate that --vary lr varies. Say one of them.")
    if settings.validation == 0 and settings.metric.startswith("val_"):
        raise UsageError(f"--tune-lr chooses by {settings.metric}, and --validation 0 leaves no part to choose by.")
    return Tuning(settings.tune_lr, settings.tuning_seeds)


def _check_arms(command: str, arms: Sequence[Arm], settings: CompareSettings) -> None:
    """Refuse arms that compare nothing.

    Raises:
        UsageError: fewer than two, two that are the same but for their spelling, a baseline that is none of them.
    """
    if len(arms) < 2:
        raise UsageError(f"`nnlab {command}` compares two arms or more; {len(arms)} given.")
    names = [arm.name for arm in arms]
    seen: dict[str, str] = {}
    for arm in arms:
        what = digest(identity(arm.settings))
        if what in seen:
            raise UsageError(f"{seen[what]!r} and {arm.name!r} are the same arm in two spellings. Give it once.")
        seen[what] = arm.name
    if settings.baseline is not None and settings.baseline not in names:
        near = did_you_mean(settings.baseline, names)
        raise UsageError(f"--baseline {settings.baseline!r} is no arm.{near} Arms: {', '.join(names)}.")


def _check_unit(decided: Sequence[str], settings: CompareSettings, dataset: Dataset) -> None:
    """Refuse to compare losses that are not in one unit.

    Raises:
        UsageError: the arms are judged by a loss, and each has a unit of its own.
    """
    if settings.metric in OWN_UNITS and _units_differ(decided, dataset):
        raise UsageError(
            f"--metric {settings.metric} is in a unit of its own in each arm, and compares nothing. "
            f"Say --metric {_METRIC_OF_TASK[dataset.task]}, or another metric that no loss owns."
        )


def _units_differ(decided: Sequence[str], dataset: Dataset) -> bool:
    """Whether what is varied changes the unit of the losses: another loss, or targets standardised or not."""
    return "loss" in decided or ("standardize" in decided and dataset.task == "regression")


def compared(
    experiment: Experiment,
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    usual_baseline: str | None = None,
    verdicts: Mapping[str, tuple[str, str]] | None = None,
    notes: Sequence[str] = (),
) -> Conclusion:
    """The conclusion of a comparison: arms judged, and each held against the baseline, paired by seed.

    Args:
        experiment: what was asked.
        runs: rows of runs.csv.
        curves: rows of curves.csv.
        usual_baseline: the arm that others are compared with where the person names none; else the first.
        verdicts: by arm, verdict and reason, where the command has a notion of its own.
        notes: sentences of the study's own.
    """
    from nnlab.analysis.comparisons import comparison_rows
    from nnlab.analysis.outcomes import metric_columns

    settings = experiment.settings
    assert isinstance(settings, CompareSettings)
    arms = [arm.name for arm in experiment.arms]
    baseline = settings.baseline or (usual_baseline if usual_baseline in arms else arms[0])
    left_out = OWN_UNITS if _units_differ(experiment.varied, experiment.dataset) else ()
    conclusion = judged(experiment, runs, curves, verdicts=verdicts, notes=notes, has_threshold=not left_out)
    metrics = [name for name in metric_columns(runs) if name not in left_out and runs[name].notna().any()]
    rows: Sequence[Mapping[str, Cell]] = []
    if len(experiment.seeds) > 1 and settings.metric in metrics:
        rows = comparison_rows(runs, arms=arms, baseline=baseline, metrics=metrics, judged=settings.metric)
    by_arm = {row["arm"]: row for row in rows if row["metric"] == settings.metric}
    summary = conclusion.summary
    if verdicts is None:
        summary = [dict(row) | _against(by_arm.get(row["arm"]), row["arm"] == baseline, baseline) for row in summary]
    if experiment.tuning is not None:
        rates, tuning = {arm.name: arm.settings.lr for arm in experiment.arms}, experiment.tuning
        summary = [
            dict(row) | {"lr": (lr := rates[str(row["arm"])]), "bracketed": tuning.brackets(lr)} for row in summary
        ]
    return replace(conclusion, summary=summary, comparisons=rows, facts={**conclusion.facts, "baseline": baseline})


def _against(row: Mapping[str, Cell] | None, is_baseline: bool, baseline: str) -> dict[str, str | None]:
    """An arm's verdict and reason, from its row of comparisons.csv."""
    if is_baseline:
        return {"verdict": "baseline", "reason": "what the others are compared with"}
    if row is None:
        return {"verdict": None, "reason": None}
    p, flipped = row["p_holm"], row["p_sign_flip"]
    reason = (
        f"against {baseline}: p {p:.2g} after Holm, sign-flip p {flipped:.2g}"
        if isinstance(p, float)
        else f"against {baseline}"
    )
    return {"verdict": str(row["verdict"]), "reason": reason}


class Compare:
    """The study behind `nnlab compare`."""

    command: Final = "compare"

    def plan(self, settings: CompareAnySettings) -> Experiment:
        """One arm for each combination of levels."""
        if not settings.vary:
            raise UsageError(
                "--vary is missing: what is compared? Say --vary KEY=A,B, such as --vary optimizer=sgd,adam."
            )
        return comparison(self.command, [varied(text, settings) for text in settings.vary], settings)

    def probe(self, experiment: Experiment) -> Facts:  # noqa: ARG002
        """Nothing is measured beside the runs."""
        return {}

    def conclude(self, experiment: Experiment, runs: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Conclusion:  # noqa: ARG002
        """Each arm against the baseline: the level that the setting has without --vary, else the first."""
        given = getattr(experiment.settings, experiment.factor or "", None)
        return compared(experiment, runs, curves, usual_baseline=None if given is None else spelled(given))


class CompareLoss:
    """The study behind `nnlab compare-loss`."""

    command: Final = "compare-loss"

    def plan(self, settings: CompareLossSettings) -> Experiment:
        """One arm a loss, each at its own rate; judged by a metric that no loss owns."""
        _, dataset = prepared(settings.model_copy(update={"metric": "val_loss", "loss": None}))
        if settings.metric == "auto":
            settings = settings.model_copy(update={"metric": _METRIC_OF_TASK[dataset.task]})
        losses = settings.losses or _USUAL_LOSSES[dataset.task]
        factor = setting_factor("loss", [str(loss) for loss in losses])
        return comparison(self.command, [factor], settings)

    def probe(self, experiment: Experiment) -> Facts:  # noqa: ARG002
        """Nothing is measured beside the runs."""
        return {}

    def conclude(self, experiment: Experiment, runs: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Conclusion:  # noqa: ARG002
        """Each loss against the task's default, and what it is."""
        usual = {"regression": "mse", "binary": "bce", "multiclass": "cross_entropy"}[experiment.dataset.task]
        notes = []
        if experiment.settings.label_noise:
            notes.append(
                "Training labels are noisy; the rates and the best were chosen, and all is reported, on clean ones."
            )
        conclusion = compared(experiment, runs, curves, usual_baseline=usual, notes=notes)
        about = {arm.name: _about(arm, experiment.dataset) for arm in experiment.arms}
        return replace(conclusion, summary=[dict(row) | about[str(row["arm"])] for row in conclusion.summary])


def _about(arm: Arm, dataset: Dataset) -> dict[str, str | None]:
    """What a loss is for: its link, what it estimates, its class in PyTorch."""
    assert arm.settings.loss is not None
    loss = loss_named(arm.settings.loss)
    return {
        "task": dataset.task,
        "output": loss.outputs[dataset.task],
        "link": loss.link_for(dataset.task),
        "estimates": loss.estimates,
        "torch_class": loss.torch_class,
    }


class CompareSchedule:
    """The study behind `nnlab compare-schedule`."""

    command: Final = "compare-schedule"

    def plan(self, settings: CompareScheduleSettings) -> Experiment:
        """One arm a schedule, all with the same epochs, batches and rate."""
        return comparison(self.command, [setting_factor("schedule", [str(s) for s in settings.schedules])], settings)

    def probe(self, experiment: Experiment) -> Facts:  # noqa: ARG002
        """Nothing is measured beside the runs."""
        return {}

    def conclude(self, experiment: Experiment, runs: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Conclusion:  # noqa: ARG002
        """Each schedule against none."""
        return compared(experiment, runs, curves, usual_baseline="none")


COMPARE: Final = Compare()
COMPARE_LOSS: Final = CompareLoss()
COMPARE_SCHEDULE: Final = CompareSchedule()
