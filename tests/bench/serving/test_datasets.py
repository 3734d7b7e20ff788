import json

import pytest

from sgjax.bench.serving.datasets import DatasetOptions, make_conversations
from sgjax.bench.workloads import lognormal_jobs
from sgjax.errors import ConfigError


def options(name="random", **values):
    defaults = {
        "num_prompts": 20,
        "input_len": 40,
        "output_len": 10,
        "range_ratio": 1.0,
        "prefix_len": 30,
        "num_groups": 2,
        "num_turns": 3,
        "file": None,
        "seed": 0,
    }
    return DatasetOptions(name=name, **(defaults | values))


def lengths(conversations):
    return [(len(turn.content), turn.max_tokens) for turns in conversations for turn in turns]


def test_random_prompts_have_the_lengths_asked_for():
    assert lengths(make_conversations(options(), 1000)) == [(40, 10)] * 20
    ranged = lengths(make_conversations(options(range_ratio=0.5, num_prompts=200), 1000))
    assert {min(each) for each in zip(*ranged, strict=True)} == {20, 5}
    assert {max(each) for each in zip(*ranged, strict=True)} == {40, 10}


def test_without_a_vocabulary_prompts_are_as_many_words():
    ((turn,), *_) = make_conversations(options(), None)
    assert isinstance(turn.content, str) and len(turn.content.split()) == 40


def test_a_seed_asks_the_same_again_and_another_something_else():
    assert make_conversations(options(), 1000) == make_conversations(options(), 1000)
    assert make_conversations(options(seed=1), 1000) != make_conversations(options(), 1000)


def test_lognormal_lengths_are_those_of_the_offline_workload():
    jobs = [(job.num_prompt, job.num_output) for job in lognormal_jobs(1000)]
    assert lengths(make_conversations(options("lognormal", num_prompts=1000), 1000)) == jobs


def test_groups_share_a_prefix_in_turn():
    conversations = make_conversations(options("shared-prefix"), 1000)
    first, second, third = (turns[0].content for turns in conversations[:3])
    assert len(first) == 30 + 40
    assert first[:30] == third[:30] != second[:30]
    assert first[30:] != third[30:]


def test_conversations_have_their_turns():
    conversations = make_conversations(options("multi-turn"), None)
    assert [len(turns) for turns in conversations] == [3] * 20
    assert len({turn.content for turns in conversations for turn in turns}) == 60


def test_json_prompts_ask_for_json():
    conversations = make_conversations(options("json"), 1000)
    assert all("JSON" in turns[0].content for turns in conversations)
    assert len({turns[0].content for turns in conversations}) > 10


def test_a_file_is_read_line_by_line(tmp_path):
    path = tmp_path / "prompts.jsonl"
    said = [{"role": "user", "content": "Hi"}]
    lines = [{"prompt": "a"}, {"messages": said, "max_tokens": 3}, {"input_ids": [4, 5]}]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    (first,), (second,), (third,) = make_conversations(options("file", file=path), 1000)
    assert (first.content, first.max_tokens) == ("a", 10)
    assert (second.content, second.max_tokens) == (said, 3)
    assert third.content == [4, 5]
    assert len(make_conversations(options("file", file=path, num_prompts=2), 1000)) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no lines"),
        ('{"prompt": "a"}\nnonsense', r"line 2 is no request"),
        ('{"prompt": "a", "input_ids": [1]}', "line 1 must have one of prompt, messages and"),
        ("{}", "line 1 must have one of"),
        ('{"prompt": ""}', "not empty"),
        ('{"promt": "a"}', "unknown field `promt`"),
        ('{"input_ids": ["a"]}', "Expected `int`"),
        ('{"prompt": "a", "max_tokens": "3"}', "Expected `int"),
    ],
)
def test_a_bad_file_is_refused_with_the_line(text, said, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        make_conversations(options("file", file=path), 1000)


def test_a_file_must_be_named_and_be_there(tmp_path):
    with pytest.raises(ConfigError, match="needs --dataset-file"):
        make_conversations(options("file"), 1000)
    with pytest.raises(ConfigError, match="cannot be read"):
        make_conversations(options("file", file=tmp_path / "none.jsonl"), 1000)
