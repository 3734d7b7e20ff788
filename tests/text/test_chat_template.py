"""Chat templates: the same prompts as transformers renders, and clear answers to bad input."""

import json

import pytest

from sgjax.errors import ConfigError, InvalidRequest
from sgjax.text import ChatTemplate
from tests.text.tokenizers_for_tests import SPECIAL, byte_level, save_checkpoint

HEADERS = """\
{%- set loop_messages = messages -%}
{{- bos_token -}}
{%- if messages[0].role == 'system' -%}
    {%- set system = messages[0].content | trim -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set system = '' -%}
{%- endif -%}
<|head|>system</head>

Today is {{ date_string if date_string is defined else 'unknown' }}.
{% if tools is not none %}
{% for tool in tools %}
{{ tool | tojson(indent=4) }}

{% endfor %}
{% endif %}
{{ system }}<|eot|>
{%- for message in loop_messages -%}
    {%- if message.tool_calls is defined and message.content is none -%}
        {%- for call in message.tool_calls -%}
<|head|>calls</head>{{ call.function.name }}({{ call.function.arguments | tojson }})
        {%- endfor -%}
    {%- else -%}
<|head|>{{ message['role'] }}</head>

{{ message['content'] | trim }}<|eot|>
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|head|>assistant</head>

{% endif -%}
"""

CHATML = """\
{% for message in messages %}
{% if loop.first and message.role != 'system' %}<|im_start|>system
Be brief.<|im_end|>
{% endif %}
{{ '<|im_start|>' + message['role'] + '\\n' }}
{%- generation %}{{ message['content'] }}{% endgeneration %}
{{ '<|im_end|>' ~ '\\n' }}
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}
{% endif %}
"""

ALTERNATING = """\
{{ bos_token }}{% set ns = namespace(expected='user', turns=0) %}
{% for message in messages %}
    {% if message['role'] != ns.expected %}
{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}
{% else %}{{ message['content'] + eos_token }}{% endif %}
{% set ns.expected = 'assistant' if ns.expected == 'user' else 'user' %}
{% set ns.turns = ns.turns + 1 %}
{% if ns.turns > 100 %}{% break %}{% endif %}
{% endfor %}
{% macro shout(text) %}{{ text | upper }}!{% endmacro %}
{{- shout('go') * 2 }}
"""

TEMPLATES = {"headers": HEADERS, "chatml": CHATML, "alternating": ALTERNATING}
USER = {"role": "user", "content": "  Naïve <b>\"question\"</b> & 'more' 中文? \n"}
ANSWER = {"role": "assistant", "content": "An answer. "}
TOOL = {"type": "function", "function": {"name": "é<f>", "parameters": {"type": "object"}}}


def chat_template(source: str, **special: str) -> ChatTemplate:
    return ChatTemplate({"default": source}, SPECIAL | special)


@pytest.fixture(scope="module", params=sorted(TEMPLATES))
def both(request, tmp_path_factory):
    """Our template and transformers' tokenizer, of the same checkpoint."""
    from transformers import PreTrainedTokenizerFast

    folder = save_checkpoint(
        tmp_path_factory.mktemp(request.param),
        byte_level(),
        chat_template=TEMPLATES[request.param],
    )
    return ChatTemplate.load(folder), PreTrainedTokenizerFast.from_pretrained(folder)


@pytest.mark.parametrize(
    "messages", [[USER], [USER, ANSWER, USER], [USER, ANSWER, USER, ANSWER, USER]], ids=len
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"add_generation_prompt": False},
        {"tools": [TOOL]},
        {"enable_thinking": False},
        {"enable_thinking": True, "tools": [TOOL, TOOL]},
    ],
    ids=str,
)
def test_prompts_are_those_of_transformers(both, messages, options):
    mine, theirs = both
    expected = theirs.apply_chat_template(
        messages, tokenize=False, **{"add_generation_prompt": True, **options}
    )
    assert mine.render(messages, **options) == expected


def test_a_final_message_goes_on_as_in_transformers(both):
    mine, theirs = both
    expected = theirs.apply_chat_template(
        [USER, ANSWER], tokenize=False, continue_final_message=True
    )
    assert mine.render([USER, ANSWER], continue_final_message=True) == expected
    assert expected.rstrip().endswith("An answer.")


def test_a_system_message_and_tool_calls_render_as_in_transformers(tmp_path):
    from transformers import PreTrainedTokenizerFast

    source = HEADERS.replace(" and message.content is none", "")
    folder = save_checkpoint(tmp_path, byte_level(), chat_template=source)
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": "é"}}}]
    messages = [
        {"role": "system", "content": " Be brief. "},
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": "3"},
    ]
    expected = PreTrainedTokenizerFast.from_pretrained(folder).apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, date_string="1 May"
    )
    template = ChatTemplate.load(folder)
    assert template.render(messages, date_string="1 May") == expected
    messages[2]["tool_calls"][0]["function"]["arguments"] = '{"x": "é"}'
    assert template.render(messages, date_string="1 May") == expected


@pytest.mark.parametrize(
    ("source", "prompt"),
    [
        ("{% if messages[0]['content'] is none %}calls{% endif %}", "calls"),
        ("{% if messages[0].content is not none %}text{% endif %}", ""),
        ("[{{ messages[0].content }}]", "[]"),
        ("{{ messages[0].name is defined }}", "False"),
    ],
)
def test_content_beside_tool_calls_is_none_for_templates_that_ask_for_it(source, prompt):
    call = {"function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "name": None, "tool_calls": [call]}
    assert chat_template(source).render([message]) == prompt


def test_parts_of_text_are_joined():
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    prompt = chat_template("{{ messages[0].content }}").render([{"role": "user", "content": parts}])
    assert prompt == "one two"


def test_an_assistant_without_content_renders_as_empty():
    assert chat_template("[{{ messages[0].content }}]").render([{"role": "assistant"}]) == "[]"


@pytest.mark.parametrize(
    ("messages", "param", "says"),
    [
        ([], "messages", "at least one"),
        ("hi", "messages", "must be a list"),
        ([3], "messages[0]", "object with role"),
        ([{"content": "x"}], "messages[0].role", "must be a string"),
        ([{"role": "user", "content": 5}], "messages[0].content", "not int"),
        ([{"role": "user", "content": None}], "messages[0].content", "not null"),
        (
            [USER, {"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "messages[1].content[0]",
            "reads text only",
        ),
        (
            [{"role": "user", "content": [{"type": "text"}]}],
            "messages[0].content[0]",
            "a part like",
        ),
        ([{"role": "assistant", "tool_calls": "f"}], "messages[0].tool_calls", "must be a list"),
        ([{"role": "assistant", "tool_calls": False}], "messages[0].tool_calls", "must be a list"),
        ([{"role": "assistant", "tool_calls": [1]}], "messages[0].tool_calls[0]", "a function"),
    ],
)
def test_a_misshapen_message_is_a_400_that_names_it(messages, param, says):
    with pytest.raises(InvalidRequest, match=says) as caught:
        chat_template(CHATML).render(messages)
    assert caught.value.param == param


def test_a_template_that_refuses_is_a_400_with_its_words():
    with pytest.raises(InvalidRequest, match="refuses these messages: Roles must alternate"):
        chat_template(ALTERNATING).render([USER, USER])


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0].missing.deeper }}",
        "{{ messages[0].content + 1 }}",
        "{{ 1 // 0 }}",
        "{{ messages[7].content.strip() }}",
        "{% include 'other' %}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}{{ ''.__class__.__mro__() }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ unknown_function() }}",
    ],
)
def test_a_template_that_fails_is_a_400(source):
    with pytest.raises(InvalidRequest, match="chat template failed on these messages"):
        chat_template(source).render([USER])


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    ],
)
def test_a_template_that_does_not_end_is_stopped(source, monkeypatch):
    monkeypatch.setattr("sgjax.text.template_sandbox.MAX_SECONDS", 0.05)
    with pytest.raises(InvalidRequest, match=r"stopped: it was not done after 0\.05 s"):
        chat_template(source).render([USER])


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10 ** 10 }}",
        "{{ 10 ** 10 * [1] }}",
        "{{ 2 ** (10 ** 6) }}",
        "{% set n = namespace(x=7) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{%endfor%}",
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{%endfor%}",
        "{% for i in range(99) %}{{ 'abcdefghij' * 10 }}{% endfor %}",
    ],
)
def test_a_template_that_makes_too_much_is_stopped(source, monkeypatch):
    monkeypatch.setattr("sgjax.text.template_sandbox.MAX_OUTPUT_CHARS", 5000)
    with pytest.raises(
        InvalidRequest, match=r"was stopped: (it makes|it repeats|it raises|its output)"
    ):
        chat_template(source).render([USER])


def test_kwargs_are_those_that_the_template_reads():
    template = chat_template("{{ mood }}{{ bos_token }}{{ messages|length }}")
    assert template.render([USER], mood="glad") == "glad<s>1"
    assert template.render([USER], enable_thinking=True) == "<s>1"
    for name in ("moood", "bos_token", "raise_exception", "sgjax_tick", "self", "messages"):
        with pytest.raises(InvalidRequest, match="Allowed: documents") as caught:
            template.render([USER], **{name: "x"})
        assert caught.value.param == "chat_template_kwargs"


def test_to_go_on_and_to_begin_anew_exclude_each_other():
    with pytest.raises(InvalidRequest, match="set one of them"):
        chat_template(CHATML).render(
            [USER, ANSWER], add_generation_prompt=True, continue_final_message=True
        )


@pytest.mark.parametrize("last", [USER, {"role": "assistant"}])
def test_only_an_assistants_text_can_go_on(last):
    with pytest.raises(InvalidRequest, match="of role assistant"):
        chat_template(CHATML).render([USER, last], continue_final_message=True)


def test_a_template_that_hides_the_last_message_cannot_go_on():
    with pytest.raises(InvalidRequest, match="does not show the last message"):
        chat_template("{{ messages[0].content }}").render(
            [USER, ANSWER], continue_final_message=True
        )


def test_messages_are_not_changed_by_rendering():
    messages = [USER, {"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]
    before = json.dumps(messages)
    chat_template(CHATML).render(messages)
    assert json.dumps(messages) == before


def test_templates_come_from_the_jinja_file_first(tmp_path):
    save_checkpoint(tmp_path, None, chat_template="from the config")
    assert ChatTemplate.load(tmp_path).render([USER]) == "from the config"
    (tmp_path / "chat_template.jinja").write_text("from the file")
    assert ChatTemplate.load(tmp_path).render([USER]) == "from the file"
    override = tmp_path / "mine.jinja"
    override.write_text("from the operator {{ eos_token }}")
    assert ChatTemplate.load(tmp_path, override).render([USER]) == "from the operator </s>"


def test_requests_with_tools_have_a_template_of_their_own(tmp_path):
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    save_checkpoint(tmp_path, None, chat_template=named)
    template = ChatTemplate.load(tmp_path)
    assert (template.render([USER]), template.render([USER], tools=[TOOL])) == ("plain", "tools")


def test_additional_templates_lie_in_a_folder(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("plain")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    template = ChatTemplate.load(tmp_path)
    assert (template.render([USER]), template.render([USER], tools=[TOOL])) == ("plain", "tools")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "no chat template, so it cannot chat. Completions work"),
        ("{% for %}", "cannot be read.*Completions work"),
        ("{% if x %}", "cannot be read.*Completions work"),
        ([{"name": "default"}], "cannot be read.*Completions work"),
        (7, "cannot be read.*Completions work"),
        ([{"name": "rag", "template": "x"}], "none named 'default'. Completions work"),
        ("x" * (1 << 20) + "y", "at most 1048576 are read"),
    ],
    ids=["none", "syntax", "unclosed", "misshapen", "number", "other name", "too long"],
)
def test_a_model_without_a_usable_template_loads_and_says_why_it_cannot_chat(tmp_path, value, says):
    save_checkpoint(tmp_path, None, chat_template=value)
    template = ChatTemplate.load(tmp_path)
    with pytest.raises(InvalidRequest, match=says):
        template.render([USER])


@pytest.mark.parametrize("content", [None, b"{% for %}", b"\xff"])
def test_a_broken_template_of_the_operator_is_refused_at_the_start(tmp_path, content):
    save_checkpoint(tmp_path, None)
    path = tmp_path / "mine.jinja"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"--chat-template .*mine\.jinja"):
        ChatTemplate.load(tmp_path, path)


def test_the_date_is_todays():
    import datetime

    prompt = chat_template("{{ strftime_now('%Y') }}").render([USER])
    assert abs(int(prompt) - datetime.datetime.now().year) <= 1
