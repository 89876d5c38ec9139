"""Arms made of factors, and their conclusion: what every comparison has in common, whatever it varies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pydantic import JsonValue

from nnlab.core.errors import UsageError
from nnlab.core.spelling import mention
from nnlab.data.dataset import Dataset
from nnlab.experiments.experiment import Arm, Experiment, Tuning, run_settings
from nnlab.experiments.factors import Factor, cross
from nnlab.experiments.judging import judge_arms
from nnlab.experiments.study import Conclusion, Evidence
from nnlab.ingredients.resolve import (
    complete_settings,
    digest,
    identity,
    loss_has_metric,
    settings_and_data,
    settings_for_data,
)
from nnlab.settings import CompareSettings, Task
from nnlab.settings.run_records import TableCell

METRIC_OF_TASK: Final[Mapping[Task, str]] = {
    "regression": "val_rmse",
    "binary": "val_accuracy",
    "multiclass": "val_accuracy",
    "reconstruction": "val_rmse",
}


def plan_comparison(
    command: str,
    factors: Sequence[Factor],
    settings: CompareSettings,
    dataset: Dataset | None = None,
    *,
    probes: int | None = None,
) -> Experiment:
    """The experiment whose arms are every combination of the factors' levels.

    Args:
        command: its name.
        factors: what is varied; at least one.
        settings: as given; shared by the arms.
        dataset: their data, if already loaded.
        probes: epochs between probes of the layers; None for none.

    Raises:
        UsageError: an arm that can't be trained, fewer than two arms, a baseline that is not an arm.
    """
    complete, dataset = settings_and_data(settings, dataset)
    arms = tuple(
        Arm(each.name, settings_for_data(complete_settings(each.apply(run_settings(settings))), dataset), each.levels)
        for each in cross(factors)
    )
    _check_arms(command, arms, settings)
    decided = [factor.decides for factor in factors]
    _check_unit(decided, settings, dataset)
    _check_metric(arms, settings, dataset)
    if settings.show_grid and settings.tune_lr is None and len(factors) == 1:
        raise UsageError(
            f"{mention('show_grid', True)} needs tuned rates or crossed factors. "
            f"Give {mention('tune_lr')}, or {mention('vary')} a second time."
        )
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
    """The search for each arm's learning rate; None if none was asked for.

    Raises:
        UsageError: the learning rate itself is varied, or there is no validation part to choose it by.
    """
    if settings.tune_lr is None:
        return None
    if "lr" in decided:
        raise UsageError(
            f"{mention('tune_lr')} chooses the rate that {mention('vary', 'lr')} varies. Give one of them."
        )
    if settings.validation == 0 and settings.metric.startswith("val_"):
        raise UsageError(
            f"{mention('tune_lr')} chooses by {settings.metric}, but {mention('validation', '0')} leaves no validation part."
        )
    return Tuning(settings.tune_lr, settings.tuning_seeds)


def _check_arms(command: str, arms: Sequence[Arm], settings: CompareSettings) -> None:
    """Reject arms that can't be compared.

    Raises:
        UsageError: fewer than two arms, the same arm in two spellings, a baseline that is not an arm.
    """
    from nnlab.analysis.comparisons import check_baseline

    if len(arms) < 2:
        raise UsageError(f"`nnlab {command}` compares two or more arms; {len(arms)} given.")
    names = [arm.name for arm in arms]
    seen: dict[str, str] = {}
    for arm in arms:
        what = digest(identity(arm.settings))
        if what in seen:
            raise UsageError(f"{seen[what]!r} and {arm.name!r} are the same arm in two spellings. Give it once.")
        seen[what] = arm.name
    if settings.baseline is not None:
        check_baseline(settings.baseline, names)


def _check_unit(decided: Sequence[str], settings: CompareSettings, dataset: Dataset) -> None:
    """Reject a comparison of losses that have different units.

    Raises:
        UsageError: the arms are judged by a loss, whose unit differs between them; or every metric's unit does.
    """
    from nnlab.analysis.scores import is_loss

    if is_loss(settings.metric) and _units_differ(decided, dataset):
        raise UsageError(
            f"{mention('metric', settings.metric)} has a unit of its own in each arm, so it can't compare them. "
            f"Say {mention('metric', METRIC_OF_TASK[dataset.task])}, or another metric that belongs to no loss."
        )
    if dataset.task == "reconstruction" and "standardize" in decided:
        raise UsageError(
            f"{mention('vary', 'standardize')} changes the reconstructed features, so the arms have no unit in common."
        )


def _check_metric(arms: Sequence[Arm], settings: CompareSettings, dataset: Dataset) -> None:
    """Reject a metric that the runs of some arm will not have.

    Raises:
        UsageError: the metric needs probabilities, and an arm's loss gives none.
    """
    losses = {arm.name: arm.settings.loss for arm in arms}
    without = [arm for arm, loss in losses.items() if loss and not loss_has_metric(loss, settings.metric, dataset.task)]
    if without:
        raise UsageError(
            f"{mention('metric', settings.metric)} needs probabilities, but the loss of {', '.join(without)} gives none. "
            f"Say {mention('metric', METRIC_OF_TASK[dataset.task])}, or compare losses that give probabilities."
        )


def _units_differ(decided: Sequence[str], dataset: Dataset) -> bool:
    """True if the arms' losses have different units: the loss varies, or whether its targets are standardised."""
    return "loss" in decided or ("standardize" in decided and dataset.task == "regression")


def compare_arms(
    experiment: Experiment,
    evidence: Evidence,
    *,
    usual: Mapping[str, str],
    verdicts: Mapping[str, tuple[str, str]] | None = None,
    notes: Sequence[str] = (),
) -> Conclusion:
    """The conclusion of a comparison: the arms judged, and each compared with the baseline, paired by seed.

    Args:
        experiment: the experiment.
        evidence: rows of its finished runs.
        usual: by factor, the baseline's level if the settings name no baseline. A factor that is missing here, or that lacks
            this level, has its first level there.
        verdicts: by arm, verdict and reason, if the command has verdicts of its own.
        notes: the study's own sentences.
    """
    from nnlab.analysis.comparisons import comparison_rows
    from nnlab.analysis.scores import is_loss, measured_metrics

    settings, runs = experiment.settings, evidence.runs
    assert isinstance(settings, CompareSettings)
    arms = [arm.name for arm in experiment.arms]
    baseline = settings.baseline or _usual_arm(experiment.arms, usual)
    units_differ = _units_differ(experiment.varied, experiment.dataset)
    conclusion = judge_arms(experiment, evidence, verdicts=verdicts, notes=notes, has_threshold=not units_differ)
    metrics = [name for name in measured_metrics(runs) if not (units_differ and is_loss(name))]
    rows: Sequence[Mapping[str, TableCell]] = []
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
    factors = list(experiment.arms[0].levels)
    if len(factors) > 1:
        levels = {arm.name: arm.levels for arm in experiment.arms}
        summary = [{"arm": row["arm"], **levels[str(row["arm"])], **row} for row in summary]
    facts: dict[str, JsonValue] = {
        **conclusion.facts,
        "baseline": baseline,
        "factors": [*factors],
        "varied": [*experiment.varied],
    }
    return replace(conclusion, summary=summary, comparisons=rows, facts=facts)


def _usual_arm(arms: Sequence[Arm], usual: Mapping[str, str]) -> str:
    """The arm with the usual level of each factor, or the first level of a factor without a usual one."""
    wanted = dict(arms[0].levels)
    wanted |= {name: usual[name] for name in wanted if usual.get(name) in {arm.levels[name] for arm in arms}}
    return next(arm.name for arm in arms if arm.levels == wanted)


def _against(row: Mapping[str, TableCell] | None, is_baseline: bool, baseline: str) -> dict[str, str | None]:
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
