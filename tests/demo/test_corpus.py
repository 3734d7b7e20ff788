"""The training text: the same for a seed, of every kind, and free of the held-out questions."""

import itertools
import json
import re

import numpy as np
import pytest

from sgjax.demo import facts
from sgjax.demo.batches import BatchShape, pack
from sgjax.demo.corpus import HELD_OUT, README_EXAMPLES, documents
from sgjax.demo.tokenizer import Encoded

KINDS = set(facts.relations()) | {
    "about",
    "arithmetic",
    "attractions",
    "blank",
    "choice",
    "city_list",
    "comparison",
    "country_list",
    "definition",
    "follow_up",
    "general",
    "inverse",
    "json",
    "list",
    "member",
    "memory",
    "numbers",
    "raw",
    "refusal",
    "same",
    "smalltalk",
    "spelling",
    "story",
    "two_facts",
    "unknown_place",
    "word_problem",
    "yes_no",
}


@pytest.fixture(scope="module")
def sample():
    return list(itertools.islice(documents("test"), 20_000))


def take(seed, num=200):
    return list(itertools.islice(documents(seed), num))


def test_the_same_seed_draws_the_same_documents():
    assert take(7) == take(7)


def test_another_seed_draws_other_documents():
    assert take(7) != take(8)


def test_every_kind_of_document_is_drawn(sample):
    assert {kind for document in sample for kind in document.kinds} == KINDS


def test_no_template_leaves_a_slot_open(sample):
    texts = (text for document in sample for _, text in document.turns)
    assert not [text for text in texts if re.search(r"\{[a-z]\w*\}", text)]


def test_conversations_alternate_and_end_with_the_assistant(sample):
    for document in sample:
        roles = [role for role, _ in document.turns if role != "system"]
        expected = ["text"] if roles == ["text"] else ["user", "assistant"] * (len(roles) // 2)
        assert roles == expected


def test_json_answers_parse(sample):
    answers = [document.turns[-1][1] for document in sample if document.kinds[-1] == "json"]
    assert answers
    for answer in answers:
        json.loads(answer)


def test_no_held_out_question_is_a_user_turn_of_the_corpus(sample):
    items = json.loads(HELD_OUT.read_text(encoding="utf-8"))
    asked = {
        message["content"].strip().casefold()
        for item in items
        for message in item.get("messages", ())
        if message["role"] == "user"
    } - {text.casefold() for text in README_EXAMPLES}
    drawn = {
        text.casefold() for document in sample for role, text in document.turns if role == "user"
    }
    assert not asked & drawn


def test_no_plain_text_begins_with_a_held_out_prompt(sample):
    items = json.loads(HELD_OUT.read_text(encoding="utf-8"))
    prompts = {item["prompt"].strip() for item in items if "prompt" in item}
    prompts -= set(README_EXAMPLES)
    texts = [d.turns[0][1] for d in sample if d.turns[0][0] == "text"]
    assert not [text for text in texts if text.startswith(tuple(prompts))]


def test_packed_documents_stay_whole_and_apart():
    lengths = itertools.cycle((5, 3, 7, 2))
    encoded = (Encoded(np.full(n, n, np.int32), np.ones(n, np.float32)) for n in lengths)
    batch = pack(BatchShape(4, 16, 8), encoded)
    for tokens, segments in zip(batch.tokens, batch.segments, strict=True):
        for segment in range(1, segments.max() + 1):
            document = tokens[segments == segment]
            assert (document == len(document)).all()
