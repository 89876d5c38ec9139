from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import pytest

from nnlab.core.errors import RefusedError
from nnlab.storage.locks import hold_directory

HOLDING = """
import sys
from pathlib import Path
from nnlab.storage.locks import hold_directory

with hold_directory(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(directory):
    """Context manager: another process that holds the directory until it is killed or its stdin is closed."""
    command = [sys.executable, "-c", HOLDING, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_directory_held_by_another_process_is_refused_at_once(tmp_path):
    with (
        another_process(tmp_path),
        pytest.raises(
            RefusedError, match=f"{tmp_path} is in use by another nnlab. Wait until it is done, or"
        ) as refused,
        hold_directory(tmp_path),
    ):
        pass
    assert refused.value.exit_code == 5


def test_a_directory_is_free_again_when_its_holder_ends_or_is_killed(tmp_path):
    with another_process(tmp_path) as process:
        process.stdin.close()
        process.wait()
        with hold_directory(tmp_path):
            pass
    with another_process(tmp_path) as process:
        process.kill()
        process.wait()
        with hold_directory(tmp_path):
            pass


def test_one_process_does_not_hold_a_directory_twice(tmp_path):
    with hold_directory(tmp_path), pytest.raises(RefusedError), hold_directory(tmp_path):
        pass
    with hold_directory(tmp_path):
        pass
