"""How commands are found and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings

import pytest

import neuronkit
from neuronkit.cli import COMMANDS, build_parser
from neuronkit.cli.dispatch import guard
from neuronkit.errors import CompileError, OptionError
from neuronkit_registry import PluginWarning
from tests.cli.conftest import ROOT, TIDE


def fail(error):
    raise error


def test_help_lists_every_command(cli):
    ended = cli("--help")
    assert ended.status == 0
    assert all(f"  {name} " in ended.out for name in COMMANDS)


def test_help_of_a_command(cli):
    """By its name, in either spelling; another word is refused as it is in a command's place."""
    assert cli("help", "list_plugins").out == cli("list-plugins", "--help").out
    ended = cli("help", "compil")
    assert (ended.status, ended.out, ended.err) == (2, "", cli("compil").err)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_describes_itself(cli, command):
    """The reference is made of these texts, so every argument has one."""
    ended = cli(command, "--help")
    assert ended.status == 0
    assert ended.out.startswith(f"usage: neuronkit {command} ")
    assert "examples:\n  neuronkit" in ended.out
    parser = build_parser(command)
    assert [action.option_strings for action in parser._actions if not action.help] == []
    assert cli("help", command).out == ended.out


def test_commands_are_sorted():
    assert list(COMMANDS) == sorted(COMMANDS)


def test_version(cli):
    assert cli("--version").out == f"neuronkit {neuronkit.__version__}\n"


def test_no_command_is_wrong_usage(cli):
    ended = cli()
    assert (ended.status, ended.out) == (2, "")
    assert "commands:" in ended.err


def test_unknown_command_has_a_suggestion(cli):
    ended = cli("inspet", "x")
    assert ended.status == 2
    assert ended.err == "neuronkit: error: there is no command 'inspet'. Did you mean inspect? Try: neuronkit --help\n"


def test_commands_take_underscores_too(cli):
    assert cli("list_plugins").status == 0


def test_unknown_option_is_wrong_usage(cli):
    ended = cli("inspect", "x", "--jsn")
    assert ended.status == 2
    assert ended.err.endswith("there is no option --jsn. Did you mean --json?\n")


def test_expected_error_is_its_message(capsys):
    assert guard(lambda: fail(CompileError("it broke\nTry: another"))) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: it broke\nTry: another\n")


def test_wrong_options_are_wrong_usage(capsys):
    assert guard(lambda: fail(OptionError("optlevel: must be one of 1, 2, 3 (got 7)."))) == 2
    assert capsys.readouterr().err == "error: optlevel: must be one of 1, 2, 3 (got 7).\n"


def test_unexpected_error_has_no_traceback(capsys):
    assert guard(lambda: fail(ZeroDivisionError("oh"))) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ZeroDivisionError: oh\n")
    assert "--debug" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(("said", "shown"), [("", ""), ("std::bad_alloc", " (std::bad_alloc)")])
def test_lack_of_memory_is_no_mystery(capsys, said, shown):
    """It says what can be done."""
    assert guard(lambda: fail(MemoryError(said))) == 1
    assert capsys.readouterr().err == (
        f"error: There is not enough memory{shown}.\nTry: smaller shapes, --jobs 1, or a machine or a limit with more.\n"
    )


@pytest.mark.parametrize("words", [["--debug", "inspect", "nowhere"], ["inspect", "nowhere", "--debug"]])
def test_debug_shows_the_traceback(cli, words):
    ended = cli(*words)
    assert ended.status == 1
    assert "Traceback (most recent call last)" in ended.err
    assert "nowhere is not an artifact: there is no neuronkit.json in it." in ended.err


def test_interrupt(capsys):
    assert guard(lambda: fail(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_plugin_that_exits_is_no_success(cli, monkeypatch):
    """Whatever status it asks for, the command was not done."""
    monkeypatch.setattr("neuronkit.cli.cache.run", lambda arguments: sys.exit(0))
    ended = cli("cache", "list")
    assert ended.status == 1
    assert "called sys.exit(0)" in ended.err


def test_own_warnings_are_lines(capsys):
    """Who types a command does not care which line of code noticed."""

    def warn() -> int:
        warnings.warn("acme is odd", PluginWarning, stacklevel=1)
        return 0

    assert guard(warn) == 0
    assert capsys.readouterr().err == "warning: acme is odd\n"


def test_reader_that_leaves_early():
    """As `neuronkit list-plugins | true`: no complaint, and the status of a process that SIGPIPE ended."""
    code = "import sys; from neuronkit.cli import main; sys.stdin.readline(); sys.exit(main(['list-plugins']))"
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    process.stdout.close()
    process.stdin.close()  # only now it begins
    assert process.stderr.read() == ""
    assert process.wait() == 141


def test_as_a_module():
    """The command of a certain interpreter."""
    ended = subprocess.run([sys.executable, "-m", "neuronkit", "--version"], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"neuronkit {neuronkit.__version__}\n", "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(closed, tmp_path):
    """What goes there is lost, as for any program; nothing else is."""
    command = f"exec {sys.executable} -m neuronkit cache list {closed}"
    environment = {**os.environ, "NEURONKIT_CACHE": str(tmp_path)}
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment)
    notes = "" if "2>" in closed else f"0 graphs in {tmp_path}; 0 B with the compiler's own caches\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", notes)


def test_full_stdout():
    """A result that is lost is a failure."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "neuronkit", "--version"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: The result could not be written: No space left on device. Try: another place for stdout.\n"
    )


SLOW = f"""
    import time
    from pathlib import Path
    from neuronkit import hookimpl
    from {TIDE.split(":")[0]} import Tide

    class Slow(Tide):
        @hookimpl
        def compile(self, graph):
            Path("started").touch()
            while True:  # a signal may wake another thread, and ends no single long sleep of this one
                time.sleep(0.1)

    plugin = Slow()
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_compile_leaves_nothing(number, status, fake_dist, site, tide_checkpoint, tmp_path):
    fake_dist("acme-slow", {"tide.level-prediction": "acme_slow:plugin"}, modules={"acme_slow": SLOW})
    work = tmp_path / "work"
    work.mkdir()
    words = [
        "compile",
        "--model",
        tide_checkpoint,
        "--task",
        "level-prediction",
        "-O1",
        "--sequence-length",
        "8",
        "out",
    ]
    code = "import sys; from neuronkit.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=work,
        env={**os.environ, "PYTHONPATH": f"{site}:{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (work / "started").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    try:
        error = process.communicate(timeout=300)[1]
    finally:
        process.kill()
    assert process.returncode == status, error
    assert "Traceback" not in error
    assert [path.name for path in work.iterdir()] == ["started"]
