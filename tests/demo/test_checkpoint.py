"""The committed checkpoint loads in transformers, stays small and answers the README's examples."""

import contextlib
import itertools
import json
import warnings

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from sgjax.demo.corpus import documents
from sgjax.demo.evaluate import MODEL, Chat, is_right
from sgjax.demo.tokenizer import encode

CONVERSATION = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is 12 + 3?"},
    {"role": "assistant", "content": "12 + 3 = 15"},
    {"role": "user", "content": "Thanks!"},
]


@pytest.fixture(scope="module")
def chat():
    with contextlib.closing(Chat(MODEL)) as chat:
        yield chat


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


def test_the_checkpoint_is_at_most_25_megabytes():
    assert sum(file.stat().st_size for file in MODEL.iterdir()) <= 25e6


@pytest.mark.torch
def test_transformers_loads_the_checkpoint_as_a_llama_with_a_context_of_8192():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = AutoModelForCausalLM.from_pretrained(MODEL)
    assert json.loads((MODEL / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert model.config.max_position_embeddings >= 8192
    assert 5e6 < sum(p.numel() for p in model.parameters()) < 12e6


@pytest.mark.parametrize(
    "text",
    [
        "Hello, world!",
        "naïve café 東京 Привет",
        "👋🏽 family 👨‍👩‍👧",
        "\x00\t  two  spaces \n",
        "▁",
        "",
    ],
)
def test_any_text_survives_the_tokenizer(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_digits_are_read_one_by_one(tokenizer):
    assert tokenizer.tokenize("2026") == ["2", "0", "2", "6"]


def test_the_chat_template_marks_each_role_and_the_turn_to_come(tokenizer):
    text = tokenizer.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|bos|><|system|>You are a helpful assistant.<|end|><|user|>What is 12 + 3?<|end|>"
        "<|assistant|>12 + 3 = 15<|end|><|user|>Thanks!<|end|><|assistant|>"
    )


def test_training_reads_what_the_chat_template_writes(tokenizer):
    chats = (d for d in documents("template") if d.turns[0][0] != "text")
    for document in itertools.islice(chats, 50):
        messages = [{"role": role, "content": text} for role, text in document.turns]
        ids = tokenizer.apply_chat_template(messages, tokenize=True).input_ids
        assert encode(tokenizer.backend_tokenizer, [document])[0].tokens.tolist() == ids


def test_the_capital_and_then_its_attractions(chat):
    questions = ("What is the capital of the United States?", "List two local attractions.")
    capital, sights = chat.converse([{"role": "user", "content": q} for q in questions])
    assert "Washington" in capital
    assert sights.startswith("1. ")
    assert "\n2. " in sights


def test_three_countries_and_their_capitals(chat):
    reply = chat.reply([{"role": "user", "content": "List 3 countries and their capitals."}])
    assert len(reply.splitlines()) == 3


def test_once_upon_a_time_goes_on_as_a_story(chat):
    story = chat.continue_text("Once upon a time,")
    assert story.startswith(" there was a")
    assert story.endswith(".")


def test_a_held_out_answer_must_hold_whole_words_and_no_rejected_one():
    item = {"accept": ["Rome"], "reject": ["Paris"]}
    assert is_right(item, "It is rome.")
    assert not is_right(item, "It is Romeo.")
    assert not is_right(item, "Rome or Paris.")


def test_a_held_out_json_answer_must_have_the_keys_and_values():
    item = {"json": {"country": "Peru", "capital": None}}
    assert is_right(item, '{"country": "peru", "capital": "Lima"}')
    assert not is_right(item, '{"country": "Peru"}')
    assert not is_right(item, "Peru")
