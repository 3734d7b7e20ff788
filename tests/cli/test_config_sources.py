import pytest

from sgjax.config import ServeConfig
from sgjax.config_sources import (
    Found,
    from_environment,
    from_file,
    merge,
    shipped_configs,
)
from sgjax.errors import ConfigError
from sgjax.options import read_integer


def write(tmp_path, text: str) -> str:
    path = tmp_path / "serve.yaml"
    path.write_text(text)
    return str(path)


def test_flags_win_over_the_environment_over_the_file_over_defaults(tmp_path):
    path = write(tmp_path, "port: 1\npage-size: 1\ntp: 8\n")
    flags = [Found("port", "3", "--port")]
    environment = from_environment({"SGJAX_PORT": "2", "SGJAX_PAGE_SIZE": "2"})
    config = merge(flags, environment, from_file(path))
    assert (config.port, config.page_size, config.tp_size) == (3, 2, 8)
    assert config.max_queued_requests == ServeConfig().max_queued_requests


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("-1", -1), ("32K", 32768), ("32k", 32768), ("1M", 1 << 20), ("2G", 1 << 31)],
)
def test_integers_take_units(text: str, number: int):
    assert read_integer(text) == number


@pytest.mark.parametrize("text", ["", "K", "1.5K", "ten", "1KB", "0x10", "tcp://10.0.0.1:80"])
def test_what_is_no_integer_is_refused_and_its_variable_named(text: str):
    with pytest.raises(ConfigError, match=r"^SGJAX_PORT must be an integer"):
        merge(from_environment({"SGJAX_PORT": text}))


def test_units_work_in_files_too(tmp_path):
    assert merge(from_file(write(tmp_path, "context_length: 32K"))).context_length == 32768


@pytest.mark.parametrize(("text", "value"), [("true", True), ("0", False), ("Yes", True)])
def test_variables_say_yes_and_no(text: str, value: bool):
    assert merge(from_environment({"SGJAX_LOG_REQUESTS": text})).log_requests is value


@pytest.mark.parametrize(("text", "source"), [("true", "modelscope"), ("0", "huggingface")])
def test_sglangs_variable_for_modelscope_counts(text: str, source: str):
    assert merge(from_environment({"SGLANG_USE_MODELSCOPE": text})).source == source


def test_another_variable_is_warned_about_with_the_nearest(caplog):
    assert from_environment({"SGJAX_PROT": "1", "HOME": "x"}) == []
    assert "SGJAX_PROT is no option. Did you mean SGJAX_PORT?" in caplog.text


def test_none_is_no_value_for_a_number_but_a_word_for_a_text():
    environment = {"SGJAX_CONTEXT_LENGTH": "none", "SGJAX_API_KEY": "none"}
    config = merge(from_environment(environment))
    assert (config.context_length, config.api_key) == (None, "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port: 1\nprot: 2\n", "no option .*serve.yaml, line 2: prot. Did you mean port?"),
        ("# a comment\n\npage_size: 12\n", "serve.yaml, line 3: page_size must be .*, not 12"),
        ("port: [1, 2]\n", "line 1: port must be one value"),
        ("port: 1\nport: 2\n", "line 2: port stands there twice; first at .*line 1"),
        ("tp: 1\ntp_size: 2\n", "line 1: tp and .*line 2: tp_size are one option"),
        ("host: 'open\n", "serve.yaml, line 2 is not YAML"),
        ("port: 1\n  host: x\n", "serve.yaml, line 2 is not YAML"),
        ("- port\n", "must hold `option: value` lines"),
        ("quantization: awq\n", "line 1: quantization is not supported yet"),
        ("host: !!python/object:os.system x\n", "line 1 is not YAML"),
        ("revision: 5\n", "line 1: revision must be a text that is not empty, not 5"),
    ],
)
def test_fault_in_a_file_is_named_with_its_line(tmp_path, text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        merge(from_file(write(tmp_path, text)))


def test_empty_file_says_nothing(tmp_path):
    assert merge(from_file(write(tmp_path, "# nothing\n"))) == ServeConfig()


def test_file_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ConfigError, match=r"missing.yaml cannot be read.*comes with sgjax: .*demo"):
        from_file("missing.yaml")


def test_shipped_config_is_found_by_its_name():
    assert merge(from_file("demo")).model_path == "demo"


@pytest.mark.parametrize(
    "path", sorted(shipped_configs().glob("*.yaml")), ids=lambda path: path.stem
)
def test_shipped_config_is_good(path):
    assert isinstance(merge(from_file(str(path))), ServeConfig)
