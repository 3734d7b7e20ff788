"""What models wrote, by format: the text, and what is to be read in it."""

from typing import Any

BAR = "\uff5c"
DS = {
    "calls": f"<{BAR}tool▁calls▁begin{BAR}>",
    "end": f"<{BAR}tool▁calls▁end{BAR}>",
    "call": f"<{BAR}tool▁call▁begin{BAR}>",
    "done": f"<{BAR}tool▁call▁end{BAR}>",
    "sep": f"<{BAR}tool▁sep{BAR}>",
}

WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"type": "string", "enum": ["C", "F"]},
        },
        "required": ["city"],
    },
}
SEARCH: dict[str, Any] = {
    "name": "search",
    "parameters": {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "filter": {
                "type": "object",
                "properties": {"tags": {"type": "array", "items": {"type": "string"}}},
                "required": ["tags"],
                "additionalProperties": False,
            },
            "exact": {"type": "boolean"},
            "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["query", "filter"],
    },
}
NOW: dict[str, Any] = {"name": "now", "parameters": {"type": "object", "properties": {}}}
TOOLS = [{"type": "function", "function": each} for each in (WEATHER, SEARCH, NOW)]

PARIS = ("get_weather", {"city": "Paris", "days": 3})
UMLAUT = ("get_weather", {"city": 'Göttingen "alt" 👋\n\\'})
NESTED = ("search", {"query": "a {b}: </c>", "filter": {"tags": ["x", "y]"]}, "exact": True})
EMPTY: tuple[str, dict[str, Any]] = ("now", {})

# (format, text, content, calls)
TRANSCRIPTS: list[tuple[str, str, str, list[tuple[str, dict[str, Any]]]]] = [
    (
        "hermes",
        'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", '
        '"days": 3}}\n</tool_call>',
        "Let me see.",
        [PARIS],
    ),
    (
        "qwen25",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "G\\u00f6ttingen '
        '\\"alt\\" 👋\\n\\\\"}}\n</tool_call>\n<tool_call>\n{"arguments": {"query": "a {b}: </c>", '
        '"filter": {"tags": ["x", "y]"]}, "exact": true}, "name": "search"}\n</tool_call>\n'
        '<tool_call>{"name": "now", "arguments": {}}</tool_call>\n\nThat is all. ',
        "That is all.",
        [UMLAUT, NESTED, EMPTY],
    ),
    ("qwen", '<tool_call>\n{"name": "now"}\n</tool_call>', "", [EMPTY]),
    ("qwen", "No call: 3 < 4, <tool_cat>, {}. \n", "No call: 3 < 4, <tool_cat>, {}. \n", []),
    (
        "llama3",
        '{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}',
        "",
        [PARIS],
    ),
    (
        "llama3",
        '<|python_tag|>{"type": "function", "name": "get_weather", "parameters": {"city": "Paris", '
        '"days": 3}}; {"name": "now", "parameters": {}}',
        "",
        [PARIS, EMPTY],
    ),
    ("llama3", '{"name": "Bob", "parameters": 1}', '{"name": "Bob", "parameters": 1}', []),
    ("llama3", "A text; a {brace}.", "A text; a {brace}.", []),
    (
        "mistral",
        'One moment.[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris", "days": '
        '3}, "id": "a1b2c3d4e"}, {"name": "now", "arguments": {}}]',
        "One moment.",
        [PARIS, EMPTY],
    ),
    (
        "mistral",
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris", "days": 3}[TOOL_CALLS]now[CALL_ID]'
        "123456789[ARGS]{}",
        "",
        [PARIS, EMPTY],
    ),
    (
        "qwen3_coder",
        "I look it up.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n"
        "</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n"
        "<function=search>\n<parameter=query>\na {b}: </c>\n</parameter>\n<parameter=filter>\n"
        '{"tags": ["x", "y]"]}\n</parameter>\n<parameter=exact>\nTrue\n</parameter>\n</function>\n'
        "</tool_call>\n<function=now>\n</function>",
        "I look it up.",
        [PARIS, NESTED, EMPTY],
    ),
    (
        "qwen3_coder",
        '<tool_call>\n<function=get_weather>\n<parameter=city>\nGöttingen "alt" 👋\n\\\n'
        "</parameter>\n</function>\n</tool_call>",
        "",
        [UMLAUT],
    ),
    (
        "glm45",
        "\nI look.<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n<tool_call>now\n"
        "</tool_call>",
        "\nI look.",
        [PARIS, EMPTY],
    ),
    (
        "deepseekv3",
        'Well.{calls}{call}function{sep}get_weather\n```json\n{{"city": "Paris", "days": 3}}\n```'
        "{done}\n{call}function{sep}now\n```json\n{{}}\n```{done}{end}".format(**DS),
        "Well.",
        [PARIS, EMPTY],
    ),
    (
        "deepseekv31",
        '{calls}{call}get_weather{sep}{{"city": "Paris", "days": 3}}{done}{call}now{sep}{{}}{done}'
        "{end}".format(**DS),
        "",
        [PARIS, EMPTY],
    ),
    (
        "kimi_k2",
        "So: <|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
        '<|tool_call_argument_begin|>{"city": "Paris", "days": 3}<|tool_call_end|>'
        "<|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        "So:",
        [PARIS, EMPTY],
    ),
    (
        "pythonic",
        '[get_weather(city="Paris", days=3), search(query=\'a {b}: </c>\', filter={"tags": ["x", '
        '"y]"]}, exact=True), now()]',
        "",
        [PARIS, NESTED, EMPTY],
    ),
    ("pythonic", '<|python_start|>[get_weather("Paris", 3)]<|python_end|>', "", [PARIS]),
    ("pythonic", "[1, 2, now]", "[1, 2, now]", []),
    (
        "gpt-oss",
        '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": '
        '"Paris", "days": 3}<|call|>',
        "",
        [PARIS],
    ),
    (
        "gpt-oss",
        "<|start|>assistant to=functions.now<|channel|>commentary<|message|>{}<|call|>",
        "",
        [EMPTY],
    ),
]
