"""Pictures made from an experiment's files, and the facts for its table that stand in the manifest."""

from __future__ import annotations

import pandas as pd
import pytest

from nnlab.report.judgement import Judging, judging_of
from nnlab.report.pictures import picture_columns
from nnlab.storage.csv_files import write_csv
from nnlab.storage.manifest import Manifest, ResolvedSetting


def manifest(*, factor: str | None, arms: tuple[str, ...], facts: dict[str, object] | None = None) -> Manifest:
    settings = {"data": "moons", "model": "mlp:hidden=8x8", "optimizer": "adam", "metric": "val_loss", "epochs": 1}
    return Manifest(
        command="compare",
        identity={},
        settings={name: ResolvedSetting(value, "default") for name, value in settings.items()},
        factor=factor,
        arms=arms,
        seeds=(3, 4),
        versions={},
        device="cpu",
        dtype="float32",
        threads=1,
        argv=(),
        started="2026-01-02T03:04:05+00:00",
        facts=facts or {},
    )


def test_a_signal_is_drawn_in_decades_by_its_median_over_seeds_relative_to_its_own_end(tmp_path):
    rows = [
        (arm, seed, epoch, layer, size**layer * (100 if seed == 2 else 1), size**-layer)
        for arm, size in (("growing", 10.0), ("level", 1.0))
        for seed in (0, 1, 2)
        for epoch in (0, 1)
        for layer in (1, 2, 3, 4)
    ]
    columns = ["arm", "seed", "epoch", "layer", "between_sample_sd", "delta_rms"]
    write_csv(tmp_path / "layers.csv", pd.DataFrame(rows, columns=columns))
    drawn = picture_columns(tmp_path, manifest(factor="init", arms=("level", "growing")))
    # 0, 1, 2 and 3 decades above the first layer, 3, 2, 1 and 0 above the last, on a scale from -3 to 3.
    assert drawn == {"forward": ["▅▅▅▅", "▅▆▇█"], "back": ["▅▅▅▅", "█▇▆▅"]}


def test_a_schedule_is_drawn_by_the_rates_of_the_first_seed(tmp_path):
    rates = {"step": [1.0, 1.0, 0.5, 0.0], "linear": [3.0, 2.0, 1.0, 0.0]}
    rows = [
        (f"{arm}{seed}", arm, seed, epoch, epoch, lr if seed == 3 else 7.0)
        for arm, curve in rates.items()
        for seed in (3, 4)
        for epoch, lr in enumerate(curve)
    ]
    write_csv(tmp_path / "curves.csv", pd.DataFrame(rows, columns=["run_id", "arm", "seed", "epoch", "step", "lr"]))
    drawn = picture_columns(tmp_path, manifest(factor="schedule", arms=("step", "linear")))
    assert drawn == {"rate": ["██▅▁", "█▆▃▁"]}


def test_other_experiments_have_no_pictures(tmp_path):
    assert picture_columns(tmp_path, manifest(factor="lr", arms=("0.1",))) == {}


@pytest.mark.parametrize(
    ("factor", "facts", "title"),
    [
        ("lr", {}, "moons, mlp:hidden=8x8, adam, 2 seeds, 1 epoch"),
        ("optimizer", {}, "moons, mlp:hidden=8x8, 2 seeds, 1 epoch"),
        ("arm", {"varied": ["model.hidden", "data"]}, "mlp, adam, 2 seeds, 1 epoch"),
    ],
)
def test_a_title_says_what_all_arms_share(factor, facts, title):
    judging = judging_of(manifest(factor=factor, arms=("a", "b"), facts={"basis": "by luck", **facts}))
    assert judging == Judging(factor=factor, metric="val_loss", basis="by luck", title=title)
