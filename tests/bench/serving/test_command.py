"""`sgjax bench serving` against our own server, with an engine that recites, and against none."""

import json
import re

import pytest

from sgjax.cli import main
from tests.bench.serving.scripted import scripted
from tests.server.live import Live, live

SMALL = ["--num-prompts", "6", "--input-len", "8", "--output-len", "5"]


@pytest.fixture(scope="module")
def server():
    with live() as found:
        yield found


@pytest.fixture
def bench(capsys):
    """Runs `sgjax bench serving`: the exit status, and what it says on both streams."""

    def run(url, *args):
        status = main(["bench", "serving", "--url", url, *SMALL, *args])
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize("api", ["generate", "completions", "chat"])
def test_each_form_is_measured_and_reported(api, server: Live, bench, tmp_path):
    path = tmp_path / "report.json"
    more = ["--ttft-ms", "10000", "--json", str(path), "--label", "mine", "--flush-cache"]
    status, out, err = bench(server.url, "--api", api, *more)
    assert (status, err) == (0, "")
    report = json.loads(path.read_text())
    figures = {figure["name"]: figure["value"] for figure in report["figures"]}
    found = report["settings"] | report["observed"]
    assert (report["benchmark"], report["label"]) == ("serving", "mine")
    assert (found["requests"], found["failed_requests"], found["output_tokens"]) == (6, 0, 30)
    assert found["input_tokens"] == 48 if api == "generate" else found["input_tokens"] >= 48
    assert found["server"]["device"] == "fake"
    assert found["dataset"]["input_len"] == 8 and "num_turns" not in found["dataset"]
    assert figures["good-requests"] == figures["requests"] > 0
    assert {"ttft-p50", "itl-p90", "tpot-p99", "e2e-mean"} <= figures.keys()
    assert {curve["name"] for curve in report["curves"]} >= {"ttft", "output tokens"}
    assert re.search(r"figure +┃ +mean ms ┃ +p50 ms", out) and re.search(r"│ ttft +│ +\d", out)


@pytest.mark.parametrize(
    "args",
    [
        ["--api", "chat", "--dataset", "multi-turn", "--num-turns", "2", "--concurrency", "2"],
        ["--api", "completions", "--dataset", "multi-turn", "--num-turns", "2"],
        ["--dataset", "multi-turn", "--num-turns", "2", "--request-rate", "500"],
    ],
)
def test_every_turn_is_a_request(args, server: Live, bench):
    status, out, _ = bench(f"{server.url}/v1/", *args)
    assert status == 0
    assert "\nrequests: 12\n" in out and "\nfailed_requests: 0\n" in out


def test_one_request_comes_before_all_others_and_is_not_counted(server: Live, bench):
    server.client.submits.clear()
    assert bench(server.url)[0] == 0
    probe, *measured = server.client.submits
    assert len(probe.prompt_ids) == 4
    assert [len(submit.prompt_ids) for submit in measured] == [8] * 6
    assert all(submit.params.ignore_eos for submit in measured)


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["--input-len", "300"], 1, "6 of 6 requests failed: 6 x status 400: This model's maximum"),
        (["--vocab-size", "90000"], 1, "Token id"),
        (["--dataset", "novels"], 2, "choice: 'novels' .choose from 'random', 'lognormal'"),
        (["--num-prompts", "0"], 2, "--num-prompts: must be an integer of at least 1, not 0"),
        (["--request-rate", "-1"], 2, "--request-rate: must be a number above 0, not -1"),
        (["--dataset", "file"], 2, "needs --dataset-file"),
        (["--dataset", "file", "--dataset-file", "/none"], 2, "/none cannot be read"),
        (["--json-schema", "/none"], 2, "schema /none cannot be read"),
        (["--json", "/none/x.json"], 2, "There is no folder /none"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_not_success(args, status, said, server, bench):
    found, out, err = bench(server.url, *args)
    assert (found, out) == (status, "")
    assert err.startswith("sgjax: ") and err.count("\n") == 1 and re.search(said, err)


def test_ids_are_not_asked_of_a_chat(server: Live, bench, tmp_path):
    path = tmp_path / "ids.jsonl"
    path.write_text('{"input_ids": [1, 2]}')
    args = ["--dataset", "file", "--dataset-file", str(path)]
    status, _, err = bench(server.url, "--api", "chat", *args)
    assert (status, "Token ids are for --api completions or generate" in err) == (2, True)
    path.write_text('{"messages": [{"role": "user", "content": "Hi"}]}')
    status, _, err = bench(server.url, *args)
    assert (status, "Messages are for --api chat" in err) == (2, True)


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("http://127.0.0.1:9", 1, "The server at http://127.0.0.1:9 does not answer: "),
        ("127.0.0.1:9", 2, "--url must be like http://127.0.0.1:30000"),
    ],
)
def test_a_dead_server_and_a_bad_address_are_said(url, status, said, bench, no_leaks):
    found, _, err = bench(url)
    assert (found, err.count("\n")) == (status, 1)
    assert said in err


@pytest.mark.parametrize(("api", "said"), [("generate", "status 404"), ("chat", "lists no model")])
def test_another_kind_of_server_is_said(api, said, bench, no_leaks):
    with scripted({}) as (url, _):
        status, _, err = bench(url, "--api", api)
    assert (status, said in err) == (1, True)


def test_requests_that_fail_are_counted_and_end_in_a_failure(server: Live, bench, monkeypatch):
    recital = server.client.recital

    def sometimes(submit, wake):
        server.client.fails = len(server.client.submits) % 3 == 0
        return recital(submit, wake)

    monkeypatch.setattr(server.client, "recital", sometimes)
    server.client.submits.clear()
    status, out, err = bench(server.url, "--concurrency", "1")
    server.client.fails = False
    assert status == 1
    assert "\nrequests: 4\n" in out and "\nfailed_requests: 2\n" in out
    assert re.search("2 of 6 requests failed: 2 x .*NaN", err)


def test_keys_are_sent_and_not_written_down(bench, tmp_path):
    path = tmp_path / "report.json"
    with live(api_key="secret-key") as locked:
        status, _, err = bench(locked.url)
        assert (status, "401" in err) == (1, True)
        status, *_ = bench(locked.url, "--api-key", "secret-key", "--json", str(path))
    assert status == 0
    assert "secret-key" not in path.read_text()
