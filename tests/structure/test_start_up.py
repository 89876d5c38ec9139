"""Start-up is light: help, listings and errors of usage come without the heavy libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
import typer

import nnlab
from nnlab.cli.app import app

HEAVY: Final = frozenset({"torch", "pandas", "scipy", "sklearn", "matplotlib"})
# Writes the names of all loaded modules into the file named first; the other words are the command's.
RUN_AND_TELL: Final = """
import atexit, pathlib, sys

place = pathlib.Path(sys.argv.pop(1))
atexit.register(lambda: place.write_text("\\n".join(sys.modules)))
sys.argv[0] = "nnlab"
from nnlab.cli.app import main

main()
"""
# Prints the help of every command named, and the names of all loaded modules.
HELP_OF_EACH: Final = """
import contextlib, io, json, sys
from nnlab.cli.app import main

_, *commands = sys.argv
helps = []
for command in commands:
    sys.argv = ["nnlab", command, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    helps.append(out.getvalue())
print(json.dumps([helps, list(sys.modules)]))
"""


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (["--help"], 0, "sweep-lr"),
        (["sweep-lr", "-h"], 0, "--batch-size"),
        (["--version"], 0, nnlab.__version__),
        (["sweep-lr", "--epoch", "3"], 2, "--epochs"),
        (["swep-lr"], 2, "sweep-lr"),
        (["sweep-lr", "--lr", "0,1"], 2, "--lr"),
        (["sweep-lr", "--seeds", "-3"], 2, "--seeds"),
        (["sweep-lr", "--init", "kaiming_nromal"], 2, "Did you mean 'kaiming_normal'?"),
        (["train", "--optimizer", "sgd:momentun=0.9"], 2, "Did you mean 'momentum'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help_and_errors_of_usage_come_without_the_heavy_libraries(words, exit_code, said, tmp_path):
    done, loaded = run_and_tell(words, tmp_path)
    assert done.returncode == exit_code, done.stderr
    assert said in (done.stderr if exit_code else done.stdout)
    assert "Traceback" not in done.stderr
    assert HEAVY & loaded == set()


def test_the_help_of_every_command_comes_without_the_heavy_libraries(tmp_path):
    commands = sorted(typer.main.get_command(app).commands)
    script = [sys.executable, "-c", HELP_OF_EACH, *commands]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=True)
    helps, loaded = json.loads(done.stdout)
    assert HEAVY & set(loaded) == set()
    for command, words in zip(commands, helps, strict=True):
        assert f"nnlab {command} " in words


@pytest.mark.parametrize("kind", ["losses", "inits", "optimizers", "schedules"])
def test_what_there_is_to_choose_from_is_listed_without_torch(kind, tmp_path):
    done, loaded = run_and_tell(["list", kind], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "torch" not in loaded


def test_completion_comes_without_the_heavy_libraries(tmp_path):
    line = {"_NNLAB_COMPLETE": "complete_bash", "COMP_WORDS": "nnlab sweep-lr --init kaiming_n", "COMP_CWORD": "3"}
    done, loaded = run_and_tell([], tmp_path, environment=line)
    assert "kaiming_normal" in done.stdout.split()
    assert HEAVY & loaded == set()


def run_and_tell(
    words: list[str], place: Path, *, environment: Mapping[str, str] | None = None
) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """The command, ended, in a process of its own; and the modules that it loaded."""
    loaded = place / "loaded"
    script = [sys.executable, "-c", RUN_AND_TELL, str(loaded), *words]
    given = {**os.environ, **(environment or {})}
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, cwd=place, env=given, check=False)
    return done, set(loaded.read_text().splitlines())
