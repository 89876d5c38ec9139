"""`nnlab compare-init` from end to end: the layers, the verdicts, and that looking costs no bit."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from commands import Ended, nnlab

NET = ("--data", "moons:samples=100", "--model", "mlp:width=8:depth=2", "--batch-size", 10, "--lr", 0.3)
SMALL = ("compare-init", *NET, "--epochs", 2, "--seeds", 2)
INITS = ("--inits", "zeros,kaiming_normal,normal:std=1e20")

LAYERS = (
    "run_id,arm,seed,epoch,layer,layer_name,preactivation_second_moment,predicted_second_moment,between_sample_sd,"
    "activation_mean,dead_fraction,saturated_fraction,delta_rms,weight_gradient_norm,update_ratio,distinct_units,units"
)


def summary_of(ended: Ended) -> pd.DataFrame:
    assert ended.code == 0, ended.err
    return pd.read_csv(io.StringIO(ended.out))


@pytest.fixture(scope="module")
def inits(tmp_path_factory):
    """A folder with a finished comparison, probed every epoch, `out`, and how its command ended."""
    folder = tmp_path_factory.mktemp("inits")
    return folder, nnlab(*SMALL, *INITS, "--probe-every", 1, "--out", "out", cwd=folder)


def test_layers_csv_has_the_documented_columns_and_a_row_a_layer_and_look(inits):
    folder, ended = inits
    assert ended.code == 0, ended.err
    assert (folder / "out" / "layers.csv").read_text().partition("\n")[0] == LAYERS
    layers = pd.read_csv(folder / "out" / "layers.csv")
    counts = layers.groupby(["arm", "seed", "epoch"]).size()
    assert set(counts) == {3}
    looked = layers.groupby("arm")["epoch"].unique().map(sorted).to_dict()
    # A run that can't even start is looked at once: what is wrong with it is there to see.
    assert looked == {"zeros": [0, 1, 2], "kaiming_normal": [0, 1, 2], "normal:std=1e20": [0]}
    assert layers.loc[layers["epoch"] > 0, "predicted_second_moment"].isna().all()
    assert layers.loc[layers["epoch"] == 0, "predicted_second_moment"].notna().all()


def test_verdicts_are_of_the_signal_and_trained_stands_beside_them(inits):
    summary = summary_of(inits[1]).set_index("arm")
    assert summary["verdict"].to_dict() == {
        "zeros": "symmetric",
        "kaiming_normal": "healthy",
        "normal:std=1e20": "exploding",
    }
    assert summary["n_trained"].to_dict() == {"zeros": 0, "kaiming_normal": 2, "normal:std=1e20": 0}
    assert summary.loc["kaiming_normal", "forward_ratio"] > 0.1
    assert "kaiming_normal" in set(pd.read_csv(inits[0] / "out" / "comparisons.csv")["arm"])


@pytest.mark.parametrize("looks", [(), ("--probe-every", 1)], ids=["start", "every"])
def test_probes_change_no_training_number_by_one_bit(tmp_path, looks):
    inits_alone = ("--vary", "init=zeros,kaiming_normal,normal:std=1e20")
    plain = nnlab("compare", *SMALL[1:], *inits_alone, "--out", "plain", cwd=tmp_path)
    assert plain.code == 0, plain.err
    assert not (tmp_path / "plain" / "layers.csv").exists()
    assert nnlab(*SMALL, *INITS, *looks, "--out", "probed", cwd=tmp_path).code == 0
    for name in ("runs.csv", "curves.csv"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "probed" / name).read_bytes()


def test_the_loop_is_probed_as_the_native_engine_is(inits, tmp_path):
    folder, _ = inits
    loop = nnlab(*SMALL, *INITS, "--probe-every", 1, "--engine", "loop", "--out", "out", cwd=tmp_path)
    assert loop.code == 0, loop.err
    there, here = (pd.read_csv(path / "out" / "layers.csv") for path in (folder, tmp_path))
    # Before the first step the weights are the same ones; after it, float32 engines part in the last digits.
    start = there["epoch"] == 0
    pd.testing.assert_frame_equal(
        there[start].drop(columns="run_id"), here[start].drop(columns="run_id"), check_exact=False, rtol=1e-9
    )
    pd.testing.assert_series_equal(there["delta_rms"], here["delta_rms"], check_exact=False, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("columns", [80, 60])
def test_the_signal_is_drawn_layer_by_layer(inits, columns):
    folder, _ = inits
    shown = nnlab("show", "out", cwd=folder, COLUMNS=str(columns)).out
    assert max(map(len, shown.splitlines())) <= columns
    assert any("healthy" in line and "2/2" in line for line in shown.splitlines())
    assert "▅██" in shown  # what explodes, forward
    assert "forward: spread of the pre-activations" in shown


def test_widths_and_depths_make_arms(tmp_path):
    words = (*SMALL, "--inits", "xavier_normal,kaiming_normal", "--widths", "4,8", "--depths", "1,3", "--out", "out")
    summary = summary_of(nnlab(*words, cwd=tmp_path))
    assert len(summary) == 8
    layers = pd.read_csv(tmp_path / "out" / "layers.csv")
    depth = layers.groupby("arm")["layer"].max().to_dict()
    assert depth["init=xavier_normal width=4 depth=1"] == 2
    assert depth["init=kaiming_normal width=8 depth=3"] == 4


@pytest.mark.parametrize("data", ["diabetes", "iris", "quadratic"])
def test_inits_are_compared_on_every_task(tmp_path, data):
    words = ("compare-init", "--data", data, "--model", "mlp:width=4:depth=2", "--epochs", 1, "--seeds", 2)
    summary = summary_of(nnlab(*words, "--inits", "zeros,orthogonal,lsuv", "--activation", "tanh", cwd=tmp_path))
    assert summary["verdict"].iloc[0] == "symmetric"


def test_where_no_run_can_start_the_verdict_is_there(tmp_path):
    words = (*SMALL, "--inits", "normal:std=1e20,normal:std=1e30", "--out", "out", "--format", "table")
    ended = nnlab(*words, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.out.count("exploding") == 2
    assert "No best arm: no run finished." in ended.out


def test_an_init_that_can_not_be_is_refused_before_anything_is_written(tmp_path):
    for inits, said in (
        ("zeros,kaiming_nromal", "Did you mean 'kaiming_normal'?"),
        ("zeros,kaiming_normal:mode=foo", "fan_in or fan_out"),
        ("zeros,normal:std=-1", "takes a number of 0 or more"),
        ("zeros", "compares two or more arms"),
    ):
        ended = nnlab(*SMALL, "--inits", inits, cwd=tmp_path)
        assert ended.code == 2
        assert said in ended.err
    assert list(tmp_path.iterdir()) == []
