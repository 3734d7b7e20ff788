import re
import subprocess
import sys

import pytest

from sgjax import cli
from sgjax.cli import main

ALL_COMMANDS = ["serve", "generate", "chat", "inspect", "bench", "version", "env"]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    monkeypatch.setattr(cli.os, "environ", {})


def error_of(capsys, *args: str) -> str:
    """The line that the command says on stderr as it fails with status 2."""
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sgjax: ") and err.count("\n") == 1 and err.endswith("\n")
    return err


def test_unknown_flag_is_refused_with_the_nearest(capsys):
    assert "no flag --prot. Did you mean --port?" in error_of(capsys, "serve", "--prot", "1")


def test_half_a_flag_is_not_guessed(capsys):
    assert "no flag --max-tot" in error_of(capsys, "serve", "--max-tot", "5")


def test_unknown_command_is_refused_with_the_nearest(capsys):
    assert "no command serv. Did you mean serve?" in error_of(capsys, "serv")


def test_flag_with_a_bad_value_is_named(capsys):
    line = error_of(capsys, "serve", "--mem-fraction-static", "1.5")
    assert "--mem-fraction-static must be a number above 0 and below 1, not 1.5." in line


def test_flag_without_its_value_is_refused(capsys):
    assert "--port: expected one argument" in error_of(capsys, "serve", "--port")


def test_no_command_is_refused(capsys):
    assert "COMMAND" in error_of(capsys)


def test_two_models_are_refused(capsys):
    assert "Two models are named" in error_of(capsys, "serve", "a", "--model-path", "b")


def test_one_argument_too_many_is_refused(capsys):
    assert "'b' is one too many" in error_of(capsys, "serve", "a", "b")


def test_bad_sampling_parameter_is_refused(capsys):
    assert "--temperature" in error_of(capsys, "generate", "x", "--temperature", "hot")


@pytest.mark.parametrize(
    "line", ["demo2 --port 3", "--port 3 demo2", "--port=3 --log-requests demo2"]
)
def test_model_may_stand_anywhere(line: str):
    config = cli.config_from(cli._parse(["serve", *line.split()]))
    assert (config.model_path, config.port) == ("demo2", 3)


def test_of_a_flag_given_twice_the_last_counts():
    parsed = cli._parse(
        ["serve", "--port", "1", "--port", "2", "--log-requests", "--no-log-requests"]
    )
    config = cli.config_from(parsed)
    assert (config.port, config.log_requests) == (2, False)


def test_sampling_flags_that_were_given_are_handed_on():
    parsed = cli._parse(["generate", "x", "--temperature", "0", "--stop", "a", "--stop", "b"])
    assert cli.sampling_from(parsed) == {"temperature": 0.0, "stop": ["a", "b"]}


def test_serve_hands_its_config_to_the_server(monkeypatch):
    served = []
    monkeypatch.setitem(
        sys.modules,
        "sgjax_server.run",
        type("run", (), {"serve": lambda config: served.append(config)}),
    )
    assert main(["serve", "demo2", "--port", "3"]) == 0
    assert [(config.model_path, config.port) for config in served] == [("demo2", 3)]


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_every_command_has_help(command: str, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"sgjax {command}" in capsys.readouterr().out


def test_help_of_serve_is_grouped_and_hides_what_has_no_effect(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    text = capsys.readouterr().out
    titles = re.findall(r"^(\w+):$", text, re.MULTILINE)
    assert titles == ["Options", "Model", "Memory", "Scheduling", "Devices", "Server"]
    assert "--enable-torch-compile" not in text and "--no-" not in text


def test_version_is_the_package_s(capsys):
    assert main(["version"]) == 0
    assert re.fullmatch(r"sgjax \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_env_names_versions_and_devices(capsys):
    assert main(["env"]) == 0
    text = capsys.readouterr().out
    assert "python 3." in text and "jax " in text and "device 0: cpu" in text


def test_launch_server_takes_sglang_s_names():
    done = subprocess.run(
        [sys.executable, "-m", "sgjax.launch_server", "--model-path", "m", "--port", "99999"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == "sgjax: --port must be an integer from 1 to 65535, not 99999.\n"
