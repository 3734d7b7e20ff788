import dataclasses

import pytest

from sgjax.config import GROUPS, ServeConfig, serve_options
from sgjax.errors import ConfigError

BAD = [
    ("model_path", "", "a text that is not empty"),
    ("model_path", None, "a text that is not empty"),
    ("mem_fraction_static", 1.5, "a number above 0 and below 1"),
    ("mem_fraction_static", 0, "a number above 0 and below 1"),
    ("mem_fraction_static", float("nan"), "a number above 0 and below 1"),
    ("page_size", 12, "a power of two from 1 to 128"),
    ("page_size", 0, "a power of two from 1 to 128"),
    ("page_size", 256, "a power of two from 1 to 128"),
    ("page_size", True, "a power of two from 1 to 128"),
    ("port", 0, "from 1 to 65535"),
    ("port", 65536, "from 1 to 65535"),
    ("port", "30000", "from 1 to 65535"),
    ("tp_size", 0, "an integer of at least 1"),
    ("context_length", -1, "an integer of at least 1"),
    ("max_running_requests", 0, "an integer of at least 1"),
    ("max_prefill_tokens", 0, "an integer of at least 1"),
    ("chunked_prefill_size", -2, "an integer of at least -1"),
    ("schedule_conservativeness", -0.1, "a number of at least 0"),
    ("max_itl_ratio", -1, "a number of at least 0"),
    ("schedule_policy", "best", "one of lpm, fcfs, random, dfs-weight"),
    ("random_seed", -1, "from 0 to 2\\*\\*63 - 1"),
    ("watchdog_timeout_s", 0, "a number above 0"),
    ("watchdog_timeout_s", float("inf"), "a number above 0"),
    ("api_key", "", "a text that is not empty"),
    ("log_level", "loud", "one of critical, error, warning, info, debug"),
    ("disable_radix_cache", 1, "true or false"),
]


@pytest.mark.parametrize(("field", "value", "allowed"), BAD)
def test_bad_value_is_refused_with_its_field_and_what_is_allowed(field, value, allowed):
    with pytest.raises(ConfigError, match=f"{field} must be .*{allowed}.*, not "):
        ServeConfig(**{field: value})


def test_unknown_option_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no option pagesize\. Did you mean page_size\?"):
        ServeConfig.from_options({"pagesize": 16})


def test_one_option_under_two_names_is_refused():
    with pytest.raises(ConfigError, match="tp and tp_size are one option"):
        ServeConfig.from_options({"tp": 2, "tp_size": 4})


def test_bounds_on_running_requests_hold_together():
    assert ServeConfig(max_running_requests=8, max_num_reqs=32).max_running_requests == 8
    assert ServeConfig(max_running_requests=64, max_num_reqs=32).max_running_requests == 32


def test_settled_config_stays_as_it_is_when_it_is_copied():
    config = ServeConfig(dtype="half", chunked_prefill_size=-1, max_num_reqs=4)
    assert dataclasses.replace(config) == config
    assert (config.dtype, config.chunked_prefill_size) == ("float16", 0)


def test_the_key_is_not_shown():
    assert "secret" not in repr(ServeConfig(api_key="secret"))


def test_every_option_has_a_group_a_sentence_and_a_default_it_allows():
    for option in serve_options().values():
        assert option.group in GROUPS
        assert option.help and "\n" not in option.help
        option.check(option.default)


def test_no_name_and_no_flag_belongs_to_two_options():
    options = serve_options().values()
    for names in ([o.names for o in options], [o.flags for o in options]):
        flat = [name for some in names for name in some]
        assert len(flat) == len(set(flat))
