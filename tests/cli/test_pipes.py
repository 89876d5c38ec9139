"""Pipes, redirections, locales and widths, as a shell has them, around a command whose answer is known already."""

from __future__ import annotations

import pytest
from commands import in_shell, nnlab

COMMAND = (
    "nnlab sweep-lr --data moons:samples=100 --model mlp:hidden=8 --epochs 1 --seeds 2 --lr 0.1,1 --name '[red] x'"
)
PATH = "results/sweep-lr/[red] x"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipes")
    words = COMMAND.replace("'[red] x'", "[red]_x").split()[1:]
    assert nnlab(*[word.replace("_", " ") for word in words], cwd=folder).code == 0
    return folder


def test_a_reader_who_takes_three_lines_is_no_error(folder):
    ended = in_shell(f"{COMMAND} --format table | head -3", cwd=folder)
    assert ended.code == 0
    assert len(ended.out.splitlines()) == 3
    assert ended.err.splitlines()[-1] == f"Files: {PATH}"


def test_json_is_read_by_other_programs(folder):
    ended = in_shell(f"{COMMAND} --format json --quiet | python3 -m json.tool | grep -c '\"verdict\"'", cwd=folder)
    assert (ended.code, ended.out, ended.err) == (0, "2\n", "")


def test_a_file_gets_the_summary(folder):
    assert in_shell(f"{COMMAND} --quiet > file.csv", cwd=folder).code == 0
    assert (folder / "file.csv").read_bytes() == (folder / PATH / "summary.csv").read_bytes()


def test_a_result_is_shown_from_a_pipe(folder):
    ended = in_shell(f"cat '{PATH}/summary.csv' | nnlab show -", cwd=folder)
    assert ended.code == 0
    assert "train_loss_mean" in ended.out


def test_the_work_goes_on_though_nobody_reads_of_it(folder):
    assert in_shell(f"{COMMAND} --verbose 2>&1 >unread.csv | sleep 0", cwd=folder).code == 0
    assert (folder / PATH / "summary.csv").read_bytes() == (folder / "unread.csv").read_bytes()


def test_an_ascii_terminal_gets_ascii_and_no_colour_where_none_is_wanted(folder):
    ended = in_shell(f"{COMMAND} --format table", cwd=folder, LANG="C", LC_ALL="C", NO_COLOR="1", COLUMNS="60")
    assert ended.code == 0
    assert (ended.out + ended.err).isascii()
    assert "\x1b" not in ended.out + ended.err
    assert max(map(len, ended.out.splitlines())) <= 60
