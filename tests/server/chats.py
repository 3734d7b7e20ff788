"""An app whose model recites what a model with tools and thoughts would write."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import openai
from sgjax_server.app import create_app

from sgjax.config import ServeConfig
from sgjax.engine.messages import Submit
from sgjax.engine.request import FinishReason
from sgjax.text import ChatTemplate, Tokenizer
from tests.front.fakes import SPECIAL, FakeEngineClient, byte_tokenizer, make_info

Value = TypeVar("Value")

TEMPLATE = (
    "{{ bos_token }}{% if tools %}[tools]{% for t in tools %}{{ t.function.name }} {% endfor %}"
    "<tool_call>{% endif %}{% for m in messages %}[{{ m.role }}]{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call {{ c.function.name }} {{ c.function.arguments.city }}>"
    "{% endfor %}{% endfor %}{% if reasoning_effort %}[{{ reasoning_effort }}]{% endif %}"
    "{% if add_generation_prompt %}[assistant]{% if thinking is defined %}"
    "{{ '<think>' if thinking else '<think></think>' }}{% endif %}{% endif %}"
)


class Reciter(FakeEngineClient):
    """Recites a text, in which special tokens are tokens."""

    def __init__(self, text: str, tokenizer: Tokenizer):
        size = tokenizer.vocab_size
        super().__init__(text, info=make_info(context_length=1 << 14, vocab_size=size))
        self._tokenizer = tokenizer

    def _tokens(self, submit: Submit) -> tuple[list[int], FinishReason]:
        ids = self._tokenizer.encode(self.text, add_special_tokens=False)
        limit = submit.params.max_new_tokens
        assert limit is not None
        if len(ids) < limit:
            return [*ids, self.info.eos_ids[0]], FinishReason("stop", matched=self.info.eos_ids[0])
        return ids[:limit], FinishReason("length", length=limit)


class Chats:
    """Clients of the app, and its engine."""

    def __init__(self, engine: Reciter, http: httpx.AsyncClient, tokenizer: Tokenizer):
        self.engine = engine
        self.http = http
        self.ai: Any = openai.AsyncOpenAI(
            base_url="http://app/v1", api_key="any", max_retries=0, http_client=http
        )
        self._tokenizer = tokenizer

    @property
    def prompt(self) -> str:
        """Of the last request."""
        ids = self.engine.submits[-1].prompt_ids.tolist()
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    async def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return await self.http.post(path, json=body)


def run(
    story: Callable[[Chats], Awaitable[Value]],
    text: str = "",
    *,
    special: tuple[str, ...] = (),
    template: str | ChatTemplate = TEMPLATE,
    **options: Any,
) -> Value:
    """Runs a story with an app whose model says `text`. Options are ServeConfig's."""

    async def told() -> Value:
        async with _chats(text, special, template, options) as chats:
            return await story(chats)

    return asyncio.run(told())


@asynccontextmanager
async def _chats(
    text: str, special: tuple[str, ...], template: str | ChatTemplate, options: dict[str, Any]
) -> AsyncIterator[Chats]:
    backend = byte_tokenizer().backend
    backend.add_special_tokens(list(special))
    tokenizer = Tokenizer(backend, SPECIAL)
    engine = Reciter(text, tokenizer)
    config = ServeConfig(model_path="fake", **options)
    if isinstance(template, str):
        template = ChatTemplate({"default": template}, SPECIAL)
    app = create_app(engine, config, tokenizer, template)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as http:
        yield Chats(engine, http, tokenizer)
    assert not engine.live
