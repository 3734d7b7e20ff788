"""The texts around messages, taken from templates: chats put together of them are those that the
template renders."""

import itertools

import pytest

from sgjax.text.chat_template import ChatTemplate
from sgjax.text.named_templates import NAMED
from sgjax.text.role_texts import RoleTexts, bos_of, role_texts
from sgjax.text.tokenizer import load_tokenizer
from tests.text.tokenizers_for_tests import SPECIAL, byte_fallback, byte_level, save_checkpoint

HEADERS = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>\n"
    "{{ message.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|system|>\nBe brief.<|end|>\n{% endif %}" + HEADERS
)
FACTS_BEFORE_ALL = "<|facts|>\nToday is Monday.<|end|>\n" + HEADERS
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + HEADERS
)
THINKS_LAST = (
    "{% for message in messages %}<|{{ message.role }}|>\n"
    "{% if loop.last and message.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
ENDS_MODEL_MESSAGES_ALONE = (
    "{% for message in messages %}{{ message.role | upper }}: {{ message.content }}"
    "{% if message.role == 'assistant' %}</s>{% else %} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
SIMPLE = {
    "headers": HEADERS,
    "default system": DEFAULT_SYSTEM,
    "facts before all": FACTS_BEFORE_ALL,
    "no system": NO_SYSTEM,
    "thinks last": THINKS_LAST,
    "ends the model's alone": ENDS_MODEL_MESSAGES_ALONE,
    **{
        name: NAMED[name].source
        for name in ("chatml", "gemma-it", "llama-3-instruct", "llama-4", "qwen", "internlm2-chat")
    },
}
HARD = {
    "a system message within the user's": NAMED["llama-2"].source,
    "no end before an answer": NAMED["mistral"].source,
    "a last message that is not shown": (
        "{% for message in messages %}{% if not loop.last or message.role == 'user' %}"
        "<{{ message.role }}>{{ message.content }}{% endif %}{% endfor %}"
    ),
    "nothing of the messages": "Hello.",
    "messages twice": HEADERS + HEADERS,
    "the last message alone": "<user>{{ messages[-1].content }}",
    "numbered messages": (
        "{% for message in messages %}[{{ loop.index }} {{ message.role }}]"
        "{{ message.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    ),
    "an answer that begins otherwise than it is shown": (
        "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant><think>{% endif %}"
    ),
    "all is refused": "{{ raise_exception('no') }}",
    "a fault": "{{ messages[7].content }}",
    "broken": "{% for %}",
}


def template_of(source: str) -> ChatTemplate:
    return ChatTemplate({"default": source}, SPECIAL)


def put_together(found: RoleTexts, messages: list[dict[str, str]]) -> str:
    text = "" if messages[0]["role"] == "system" else found.opening
    for message in messages:
        before, behind = found.texts[message["role"]]
        text += before + message["content"] + behind
    return text


def chats(has_system: bool) -> list[list[dict[str, str]]]:
    """Of one to six messages that end with the user's."""
    contents = ["Hi?", "Yes.", "Why?\nSay it in two lines.", "No.", "<user>", "{{ x }}", "End."]
    turns = [
        {"role": role, "content": content}
        for role, content in zip(itertools.cycle(["user", "assistant"]), contents, strict=False)
    ]
    found = [turns[:1], turns[:3], turns[:5], turns[:7]]
    if has_system:
        found += [[{"role": "system", "content": "Be kind."}, *chat] for chat in list(found)]
    return found


@pytest.mark.parametrize("name", SIMPLE)
def test_chats_put_together_are_those_that_the_template_renders(name):
    template = template_of(SIMPLE[name])
    found = role_texts(template)
    assert found is not None
    for chat in chats("system" in found.texts):
        made = put_together(found, chat)
        assert made == template.render(chat, add_generation_prompt=False)
        prompt = made + found.texts["assistant"][0]
        assert prompt == template.render(chat, add_generation_prompt=True)


def test_a_system_message_that_is_refused_has_no_texts():
    assert set(found_of(NO_SYSTEM).texts) == {"user", "assistant"}
    assert set(found_of(HEADERS).texts) == {"user", "assistant", "system"}


def test_what_stands_before_chats_without_a_system_message_is_their_opening():
    assert found_of(DEFAULT_SYSTEM).opening == "<|system|>\nBe brief.<|end|>\n<s>"
    assert found_of(HEADERS).opening == "<s>"
    assert found_of(FACTS_BEFORE_ALL).opening == "<|facts|>\nToday is Monday.<|end|>\n<s>"


def found_of(source: str, **options: str) -> RoleTexts:
    found = role_texts(template_of(source), **options)
    assert found is not None
    return found


def test_a_bos_that_prompts_have_anyway_is_left_out():
    bare, own = found_of(HEADERS, bos="<s>"), found_of(HEADERS)
    assert (bare.opening, bare.texts["system"][0]) == ("", "<|system|>\n")
    assert (own.opening, own.texts["system"][0]) == ("<s>", "<s><|system|>\n")
    assert bare.texts["user"] == own.texts["user"] == ("<|user|>\n", "<|end|>\n")
    # One that stands elsewhere stays.
    assert found_of(FACTS_BEFORE_ALL, bos="<s>") == found_of(FACTS_BEFORE_ALL)


@pytest.mark.parametrize("name", HARD)
def test_a_template_that_cannot_be_taken_apart_has_none(name):
    assert role_texts(template_of(HARD[name])) is None


def test_a_model_without_a_template_has_none():
    assert role_texts(ChatTemplate({}, SPECIAL)) is None


@pytest.mark.parametrize("adds_bos", [True, False])
def test_the_bos_of_a_tokenizer_is_what_it_puts_before_any_text(tmp_path, adds_bos):
    make = with_bos if adds_bos else byte_level
    save_checkpoint(tmp_path, make())
    assert bos_of(load_tokenizer(tmp_path)) == ("<s>" if adds_bos else "")


def with_bos():
    from tokenizers import Tokenizer as Fast
    from tokenizers import processors

    tokenizer = Fast.from_str(byte_fallback().to_str())
    bos = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", bos)]
    )
    return tokenizer
