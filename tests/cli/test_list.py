"""`nnlab list`: what there is to choose from, without torch until a picture is asked for."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from nnlab.catalog.entry import key_values, keys
from nnlab.cli.app import app
from nnlab.core.errors import UsageError
from nnlab.core.spec import parse_spec
from nnlab.ingredients.index import TABLES
from nnlab.ingredients.listing import ingredient

SLOW = ("mnist1d", "mnist5k")  # made or read in seconds
NAMES = [(kind, name) for kind, table in TABLES.items() for name in table if name not in SLOW]


def listed(*words: str, **environment: str) -> Result:
    plain = {"COLUMNS": "80", "LC_ALL": "", "LANG": "en_US.UTF-8"}
    return CliRunner().invoke(app, ["list", *words], env=plain | environment)


def rows(*words: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(listed(*words).stdout), keep_default_na=False)


def properties(kind: str, name: str) -> dict[str, str]:
    return dict(rows(kind, name).itertuples(index=False))


def test_every_kind_is_listed_with_the_option_that_takes_it():
    kinds = rows().set_index("kind")
    assert list(kinds.index) == list(TABLES)
    assert kinds["number"].to_dict() == {kind: len(table) for kind, table in TABLES.items()}
    assert kinds.loc["inits", "option"] == "--init, --inits"


@pytest.mark.parametrize("kind", TABLES)
def test_every_name_of_a_kind_is_listed_with_words_and_source(kind):
    names = rows(kind)
    assert names["name"].tolist() == list(TABLES[kind])
    assert (names["what"] != "").all()
    assert not names["what"].str.contains("Source:").any()
    assert "source" in names


@pytest.mark.parametrize("kind", TABLES)
def test_the_keys_listed_are_read_back_as_the_defaults(kind):
    for name, listed_keys in rows(kind)[["name", "keys"]].itertuples(index=False):
        function = TABLES[kind][name].function
        given = [part for part in listed_keys.split(":") if part and not part.endswith("=...")]
        values = key_values(function, parse_spec(":".join(["x", *given]), what="x"), what="x") if given else {}
        assert all(values[key] == keys(function)[key].default for key in (part.partition("=")[0] for part in given))
        assert [part.partition("=")[0] for part in listed_keys.split(":") if part] == list(keys(function))


def test_losses_are_listed_with_the_task_the_link_and_what_they_estimate():
    losses = rows("losses").set_index("name")
    assert losses.loc["huber", "tasks"] == "regression, binary, multiclass, reconstruction"
    assert losses.loc["cross_entropy", "link"] == "softmax"
    assert losses.loc["l1", "estimates"] == "median"
    assert losses.loc["bce", "pytorch"] == "torch.nn.BCEWithLogitsLoss"
    text = listed("losses", "--format", "table").stdout
    assert all(f"\n{name} " in text for name in TABLES["losses"])
    assert {"tasks", "link", "estimates"} <= set(text.splitlines()[0].split())


def test_kinds_and_names_come_without_torch():
    code = (
        "import sys; from nnlab.cli.app import app\n"
        f"for kind in {['', *TABLES]}: app(['list', *kind.split(), '--format', 'table'], standalone_mode=False)\n"
        "print({'torch', 'sklearn', 'scipy', 'matplotlib', 'mnist1d'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inti"], "nnlab list 'inti' is not known. Did you mean 'inits'? Accepted: activations, data,"),
        (["inits", "kaiming_nromal"], "nnlab list inits 'kaiming_nromal' is not known. Did you mean 'kaiming_normal'?"),
        (["losses", "huber:dleta=2"], "nnlab list losses huber has no key 'dleta'. Did you mean 'delta'?"),
        (["losses", "huber:delta=0"], "nnlab list losses huber:delta takes a number above 0, not '0'."),
    ],
)
def test_a_misspelt_kind_name_or_key_is_told_the_nearest(words, said):
    error = listed(*words).exception
    assert isinstance(error, UsageError)
    assert str(error).startswith(said)


@pytest.mark.parametrize(("kind", "name"), NAMES, ids=lambda word: word)
def test_every_name_has_a_page_that_an_ascii_terminal_of_60_columns_can_show(kind, name):
    text = listed(kind, name, "--format", "table", COLUMNS="60", LC_ALL="C").stdout
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 60
    assert text.split()[:2] == [kind, name]
    assert ("+--" in text) == (kind in ("activations", "inits", "losses", "schedules") and "must be given" not in text)


def test_a_page_says_formula_keys_source_and_class():
    page = properties("losses", "huber")
    assert page["what"].startswith("(s - y)^2 / 2 up to a distance of delta")
    assert page["option"] == "--loss huber"
    assert page["delta="] == "a number above 0; default: 1.0"
    assert page["pytorch"] == "torch.nn.HuberLoss"
    assert page["source"] == "Huber 1964, section 3"
    assert properties("schedules", "one_cycle")["anneal_strategy="] == "cos, linear; default: cos"
    assert properties("schedules", "step")["step_size="] == "a whole number of 1 or more; default: see above"
    assert properties("metrics", "ece")["option"] == "--metric val_ece"


def test_a_page_is_the_same_in_every_format():
    page = properties("inits", "kaiming_normal")
    records = json.loads(listed("inits", "kaiming_normal", "--format", "json").stdout)
    assert {record["property"]: record["value"] for record in records} == page
    assert "| law | normal |" in listed("inits", "kaiming_normal", "--format", "markdown").stdout


def test_an_activation_is_drawn_with_its_own_slope():
    (curve,) = ingredient("activations", "tanh")[1].curves
    # The same formula in NumPy: rounding alone.
    np.testing.assert_allclose(curve["f(z)"], np.tanh(curve["z"]), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(curve["slope"], 1 - np.tanh(curve["z"]) ** 2, rtol=1e-12, atol=1e-16)
    (leaky,) = ingredient("activations", "leaky_relu:negative_slope=0.25")[1].curves
    assert leaky["slope"].iloc[0] == 0.25


def test_a_distance_is_drawn_by_its_residual():
    (curve,) = ingredient("losses", "huber:delta=2")[1].curves
    e = curve["s - y"]
    np.testing.assert_allclose(curve["loss"], np.where(abs(e) <= 2, e**2 / 2, 2 * (abs(e) - 1)), rtol=1e-14)
    np.testing.assert_allclose(curve["slope"], np.clip(e, -2, 2), rtol=1e-14)


@pytest.mark.parametrize("name", ["bce", "cross_entropy", "nll", "focal:gamma=0"])
def test_a_likelihood_is_drawn_by_the_score_for_both_targets(name):
    losses, slopes = ingredient("losses", name)[1].curves
    s = losses.iloc[:, 0]
    sigmoid = 1 / (1 + np.exp(-s))
    # -log p and its derivative for p = sigmoid(s); atol for focal's floor under 1 - p.
    for target in (0, 1):
        np.testing.assert_allclose(
            losses[f"loss, y = {target}"], np.log1p(np.exp(s if target == 0 else -s)), rtol=1e-12
        )
        np.testing.assert_allclose(slopes[f"slope, y = {target}"], sigmoid - target, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", [name for name, init in TABLES["inits"].items() if not init.deterministic])
def test_an_init_is_drawn_with_its_deviation_beside_the_expected_one(name):
    page, histogram = properties("inits", name), ingredient("inits", name)[1].histogram
    assert histogram["draws"].sum() == 100 * 100
    # The deviation of 10,000 draws strays by 0.7 % (normal), by 1 % for the long tails of `sparse`: four times that.
    assert math.isclose(float(page["standard deviation"]), float(page["expected"]), rel_tol=0.04)


def test_a_data_set_is_opened_only_when_it_is_named():
    page = properties("data", "iris")
    assert (page["rows"], page["classes"]) == ("150", "3: setosa, versicolor, virginica")
    assert page["source"] == "Fisher 1936, in scikit-learn"
    text = listed("data", "iris", "--format", "table").stdout
    assert "5.1" in text
    assert text.count("setosa") == 6
    assert "rows" not in rows("data")


def test_a_persons_own_loss_has_a_page_and_a_curve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = '"""|s - y|^power."""\n    return (scores.squeeze(-2) - targets).abs() ** power'
    text = f"def near(scores, targets, *, power: float = 3.0):\n    {words}\n"
    (tmp_path / "[red].py").write_text(text, encoding="utf-8")
    page = properties("losses", "[red].py:near")
    assert (page["what"], page["power="]) == ("|s - y|^power.", "a number; default: 3.0")
    losses, slopes = ingredient("losses", "[red].py:near:power=2")[1].curves
    # d/ds (s - y)^2 by autograd: exact but for rounding.
    np.testing.assert_allclose(slopes["slope, y = 1"], 2 * (losses["score s"] - 1), rtol=1e-14, atol=1e-14)
    assert listed("losses", "[red].py:near", "--format", "table").stdout.startswith("losses     [red].py:near")


def test_a_schedule_without_its_key_says_what_it_needs_and_with_it_is_drawn():
    assert properties("schedules", "lambda")["picture"] == "none without a value for lr_lambda="
    (curve,) = ingredient("schedules", "lambda:lr_lambda=0.5**epoch")[1].curves
    np.testing.assert_allclose(curve["lr"], 0.1 * 0.5 ** np.floor(curve["epoch"]), rtol=1e-14)


def test_completion_offers_kinds_and_the_names_of_the_kind():
    command = "import sys; from nnlab.cli.app import app; app(prog_name='nnlab')"

    def offered(words: str) -> list[str]:
        environment = {"_NNLAB_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(
            [sys.executable, "-c", command], capture_output=True, text=True, env=environment, check=False
        )
        return done.stdout.split()

    assert offered("nnlab list in") == ["inits"]
    assert offered("nnlab list losses hu") == ["huber"]
