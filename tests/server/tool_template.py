"""A chat template that shows tools and thoughts, for servers in front of the fake engine."""

from collections.abc import Iterator
from contextlib import contextmanager

from sgjax.text import ChatTemplate
from tests.front.fakes import SPECIAL
from tests.server.live import Live, live

TEMPLATE = (
    "{{ bos_token }}{% for t in tools or [] %}{{ t.function.name }};{% endfor %}"
    "{% for m in messages %}[{{ m.role }}]"
    "{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}"
    "{{ c.id }}:{{ c.function.name }}{{ c.function.arguments | tojson }}"
    "{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
    "{% if enable_thinking is defined %}{{ enable_thinking }}{% endif %}"
    "{% if reasoning_effort %}{{ reasoning_effort }}{% endif %}"
)


@contextmanager
def live_with_tools() -> Iterator[Live]:
    """A server that reads calls as Hermes writes them, and thoughts as Qwen 3."""
    with live(tool_call_parser="hermes", reasoning_parser="qwen3") as server:
        server.service.chat_template = ChatTemplate({"default": TEMPLATE}, SPECIAL)
        yield server


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
