"""SGLang's command line is taken as it is: every flag of its server works, warns, or is refused."""

import logging

import pytest

from sgjax.cli import _parse, config_from
from sgjax.config import ServeConfig
from sgjax.errors import ConfigError
from sgjax.sglang_flags import IGNORED, LATER

# Flag with values -> the field it sets, and to what.
WORKS = [
    ("--is-embedding", "is_embedding", True),
    ("--model-path m", "model_path", "m"),
    ("--tokenizer-path t", "tokenizer_path", "t"),
    ("--tokenizer-mode slow", "tokenizer_mode", "slow"),
    ("--skip-tokenizer-init", "skip_tokenizer_init", True),
    ("--disable-regex-jump-forward", "disable_jump_forward", True),
    ("--grammar-backend xgrammar", "grammar_backend", "llguidance"),
    ("--grammar-backend none", "grammar_backend", "none"),
    ("--load-format auto", "load_format", "auto"),
    ("--load-format safetensors", "load_format", "safetensors"),
    ("--load-format dummy", "load_format", "dummy"),
    ("--dtype auto", "dtype", "auto"),
    ("--dtype half", "dtype", "float16"),
    ("--dtype float16", "dtype", "float16"),
    ("--dtype bfloat16", "dtype", "bfloat16"),
    ("--dtype float", "dtype", "float32"),
    ("--dtype float32", "dtype", "float32"),
    ("--context-length 4096", "context_length", 4096),
    ("--served-model-name name", "served_model_name", "name"),
    ("--chat-template t.jinja", "chat_template", "t.jinja"),
    ("--host 0.0.0.0", "host", "0.0.0.0"),
    ("--port 8000", "port", 8000),
    ("--mem-fraction-static 0.8", "mem_fraction_static", 0.8),
    ("--max-running-requests 64", "max_running_requests", 64),
    ("--max-num-reqs 32", "max_running_requests", 32),
    ("--max-total-tokens 100000", "max_total_tokens", 100000),
    ("--chunked-prefill-size 4096", "chunked_prefill_size", 4096),
    ("--chunked-prefill-size -1", "chunked_prefill_size", 0),
    ("--max-prefill-tokens 8192", "max_prefill_tokens", 8192),
    ("--schedule-policy lpm", "schedule_policy", "lpm"),
    ("--schedule-policy random", "schedule_policy", "random"),
    ("--schedule-policy fcfs", "schedule_policy", "fcfs"),
    ("--schedule-policy dfs-weight", "schedule_policy", "dfs-weight"),
    ("--schedule-conservativeness 0.3", "schedule_conservativeness", 0.3),
    ("--tp-size 2", "tp_size", 2),
    ("--tensor-parallel-size 2", "tp_size", 2),
    ("--tp 2", "tp_size", 2),
    ("--ep-size 2", "ep_size", 2),
    ("--expert-parallel-size 2", "ep_size", 2),
    ("--stream-interval 8", "stream_interval", 8),
    ("--random-seed 7", "random_seed", 7),
    ("--log-level warning", "log_level", "warning"),
    ("--log-level-http error", "log_level_http", "error"),
    ("--log-requests", "log_requests", True),
    ("--api-key secret", "api_key", "secret"),
    ("--disable-radix-cache", "disable_radix_cache", True),
    ("--disable-cuda-graph", "disable_cuda_graph", True),
    ("--disable-overlap-schedule", "disable_overlap_schedule", True),
    ("--enable-cache-report", "enable_cache_report", True),
    ("--attention-backend triton", "attention_backend", "triton"),
    ("--revision main", "revision", "main"),
    ("--watchdog-timeout 60", "watchdog_timeout_s", 60),
    ("--max-queued-requests 16", "max_queued_requests", 16),
    ("--page-size 64", "page_size", 64),
    ("--file-storage-path f", "file_storage_path", "f"),
    ("--file-storage-pth f", "file_storage_path", "f"),
]  # fmt: skip

WARNS = [
    "--trust-remote-code",
    "--additional-ports 10000 10001",
    "--disable-disk-cache",
    "--enable-mixed-chunk",
    "--disable-flashinfer",
    "--disable-flashinfer-sampling",
    "--disable-cuda-graph-padding",
    "--enable-torch-compile",
    "--disable-custom-all-reduce",
    "--enable-p2p-check",
    "--enable-mla",
    "--triton-attention-reduce-in-fp32",
    "--efficient-weight-load",
    "--enable-metrics",
]

# What it would have to do, and the values of the same flag that ask for nothing new.
REFUSED = [
    ("--kv-cache-dtype fp8_e5m2", "auto"),
    ("--quantization awq", None),
    ("--dp-size 2", "1"),
    ("--data-parallel-size 2", "1"),
    ("--nnodes 2", "1"),
    ("--node-rank 1", "0"),
    ("--nccl-init-addr host:1234", None),
    ("--show-time-cost", None),
    ("--load-balance-method fewest", "shortest_queue"),
    ("--enable-lora", None),
    ("--lora-paths a=b", None),
    ("--speculative-algorithm EAGLE", None),
    ('--json-model-override-args {"a":1}', "{}"),
]


def config_of(line: str) -> ServeConfig:
    return config_from(_parse(["serve", *line.split()]))


@pytest.mark.parametrize(("line", "field", "value"), WORKS)
def test_flag_sets_its_field(line: str, field: str, value: object):
    assert getattr(config_of(line), field) == value


@pytest.mark.parametrize("line", WARNS)
def test_flag_that_means_nothing_here_warns_and_changes_nothing(line: str, caplog):
    with caplog.at_level(logging.WARNING):
        assert config_of(line) == ServeConfig()
    assert f"{line.split()[0]} has no effect" in caplog.text


@pytest.mark.parametrize(("line", "same"), REFUSED)
def test_flag_of_what_is_still_to_come_is_refused(line: str, same: str | None, caplog):
    flag = line.split()[0]
    with pytest.raises(ConfigError, match=f"{flag} is not supported yet"):
        config_of(line)
    if same is not None:
        assert config_of(f"{flag} {same}") == ServeConfig()
    assert not caplog.text


def test_every_flag_without_an_effect_and_every_one_to_come_is_in_these_tables():
    assert {line.split()[0][2:].replace("-", "_") for line in WARNS} == set(IGNORED)
    refused = {line.split()[0][2:].replace("-", "_") for line, _ in REFUSED}
    assert refused >= set(LATER)


@pytest.mark.parametrize("load_format", ["pt", "npcache"])
def test_pickled_checkpoints_are_refused_with_the_way_to_convert_them(load_format: str):
    with pytest.raises(ConfigError, match=r"Convert the checkpoint to safetensors once"):
        config_of(f"--load-format {load_format}")


@pytest.mark.parametrize("template", ["chatml", "llama-2", "vicuna_v1.1"])
def test_chat_templates_go_by_sglang_s_names(template: str):
    assert config_of(f"--chat-template {template}").chat_template == template


@pytest.mark.parametrize(("template", "hint"), [("own.json", ".json"), ("chat-ml", "mean chatml")])
def test_chat_templates_that_are_no_names_are_refused(template: str, hint: str):
    with pytest.raises(ConfigError, match=hint):
        config_of(f"--chat-template {template}")


def test_engine_options_written_for_sglang_are_taken(caplog):
    options = {"model_path": "m", "tp_size": 2, "trust_remote_code": True, "dp_size": 1}
    assert ServeConfig.from_options(options) == ServeConfig(model_path="m", tp_size=2)
    assert "trust_remote_code has no effect" in caplog.text


def test_an_ignored_option_that_is_off_is_not_worth_a_warning(caplog):
    ServeConfig.from_options({"trust_remote_code": False})
    assert not caplog.text
