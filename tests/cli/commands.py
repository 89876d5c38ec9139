"""The program as a person runs it: in a process of its own, or in this one where loading torch again would only cost time."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from nnlab.cli.app import main

# What a shell gives it, and nothing of whoever runs the tests.
PLAIN = {"PATH": os.environ["PATH"], "LANG": "en_US.UTF-8", "OMP_NUM_THREADS": "1", "HOME": os.environ.get("HOME", "/")}
PROGRAM = [sys.executable, "-m", "nnlab"]


@dataclass(frozen=True)
class Ended:
    """The end of a command: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str


def nnlab(*words: object, cwd: Path, **environment: str) -> Ended:
    """Run a command in this process, its stdout and stderr no terminals."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    terminate = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nnlab", *map(str, words)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        for variable in [name for name in os.environ if name not in PLAIN]:
            patch.delenv(variable)
        for variable, value in (PLAIN | environment).items():
            patch.setenv(variable, value)
        patch.chdir(cwd)
        try:
            with pytest.raises(SystemExit) as end:
                main()
        finally:
            signal.signal(signal.SIGTERM, terminate)
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return Ended(int(end.value.code or 0), *texts)


def started(*words: object, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """A command begun in a process of its own, which hears Ctrl-C also where these tests do not."""
    return subprocess.Popen(
        [*PROGRAM, *map(str, words)],
        cwd=cwd,
        env=PLAIN | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def in_shell(line: str, *, cwd: Path, **environment: str) -> Ended:
    """Run a line of bash in which `nnlab` is the program."""
    program = f'nnlab() {{ "{sys.executable}" -m nnlab "$@"; }}\nset -o pipefail\n'
    done = subprocess.run(
        ["bash", "-c", program + line], cwd=cwd, env=PLAIN | environment, capture_output=True, text=True, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)
