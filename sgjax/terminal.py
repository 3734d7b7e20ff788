"""Generating and chatting in a terminal, with an engine in this process or with a server."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from sgjax.config import ServeConfig
from sgjax.engine.local_client import LocalClient
from sgjax.errors import ConfigError, EngineDead, RequestError, SgjaxError
from sgjax.front import generator
from sgjax.front.files import chat_template_of, tokenizer_of
from sgjax.front.request import GenerationRequest
from sgjax.progress import start_progress
from sgjax.sampling_params import SamplingParams
from sgjax.text import Tokenizer, with_stops

Message = dict[str, str]
Pieces = Generator[str, None, None]
Answer = Callable[[Sequence[Message]], Pieces]
"""Says what a model answers to a conversation, piece by piece."""

_HELP = "Ctrl-D or /exit ends, /clear forgets what was said, Ctrl-C stops an answer."
_CONNECT_S = 10.0


def generate(config: ServeConfig, text: str, params: Mapping[str, Any]) -> None:
    """Prints what the model writes after `text`, as it comes."""
    asked = SamplingParams.from_dict(params)
    with _engine(config) as engine:
        for piece in engine.stream(GenerationRequest(prompt=text, params=asked)):
            print(piece, end="", flush=True)
    print()


def chat_in_process(config: ServeConfig, params: Mapping[str, Any], system: str | None) -> None:
    """A conversation with an engine of its own."""
    SamplingParams.from_dict(params)  # a mistake there is said before anything is loaded
    template = chat_template_of(config)
    if template is None:
        raise ConfigError("A chat needs the tokenizer: leave out --skip-tokenizer-init.")
    if template.problem is not None:
        raise ConfigError(template.problem)
    with _engine(config) as engine:
        asked = SamplingParams.from_dict(
            {"max_new_tokens": None, **engine.default_sampling, **params}
        )
        asked = with_stops(asked, template, engine.tokenizer)

        def answer(messages: Sequence[Message]) -> Pieces:
            prompt = template.render(messages)
            request = GenerationRequest(prompt=prompt, params=asked, add_special_tokens=False)
            return engine.stream(request)

        converse(answer, system)


def chat_with_server(
    url: str,
    params: Mapping[str, Any],
    *,
    key: str | None = None,
    model: str | None = None,
    system: str | None = None,
) -> None:
    """A conversation with an OpenAI-compatible server; without a model named, with its own."""
    names = {"max_new_tokens": "max_tokens"}
    fields = {names.get(name, name): value for name, value in params.items()}
    fields["model"] = model or "default"

    def answer(messages: Sequence[Message]) -> Pieces:
        return _ask_server(url, key, {**fields, "messages": list(messages), "stream": True})

    converse(answer, system)


@contextlib.contextmanager
def _engine(config: ServeConfig) -> Iterator["_Engine"]:
    """An engine in this process; shows its start."""
    tokenizer = tokenizer_of(config)
    with asyncio.Runner() as runner:
        with start_progress() as on_event:
            client = LocalClient.start(config, on_event, runner.get_loop())
        try:
            yield _Engine(runner, generator.Generator(client, tokenizer))
        finally:
            runner.run(client.close())


class _Engine:
    """A synchronous face of Generator, for one caller that waits."""

    def __init__(self, runner: asyncio.Runner, texts: generator.Generator):
        self._runner = runner
        self._generator = texts

    @property
    def tokenizer(self) -> Tokenizer:
        assert self._generator.tokenizer is not None, "a chat has one"
        return self._generator.tokenizer

    @property
    def default_sampling(self) -> dict[str, float]:
        return self._generator.client.info.default_sampling

    def stream(self, request: GenerationRequest) -> Pieces:
        """The text of a request, piece by piece; closing the iterator aborts it."""
        generation = self._runner.run(self._generator.start([request], is_streamed=True))
        try:
            with contextlib.suppress(StopAsyncIteration):
                while True:
                    for _, piece in self._runner.run(generation.__anext__()):
                        yield piece.text
        finally:
            self._runner.run(generation.aclose())


def converse(answer: Answer, system: str | None = None) -> None:
    """Reads lines and prints answers until the input ends."""
    opening = [] if system is None else [{"role": "system", "content": system}]
    messages = list(opening)
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        print(_HELP)
    while (line := _read_line("> " if is_terminal else "")) is not None:
        match line.strip():
            case "":
                continue
            case "/exit" | "/quit":
                return
            case "/clear":
                messages = list(opening)
            case said:
                asked = [*messages, {"role": "user", "content": said}]
                reply = _say(answer(asked))
                if reply is not None:
                    messages = [*asked, {"role": "assistant", "content": reply}]


def _read_line(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        return None


def _say(pieces: Pieces) -> str | None:
    """Prints an answer as it comes; None if there was none for the model to remember."""
    whole: list[str] = []
    try:
        with contextlib.closing(pieces):
            for piece in pieces:
                print(piece, end="", flush=True)
                whole.append(piece)
    except RequestError as error:
        print(error, file=sys.stderr)
        return None
    except KeyboardInterrupt:
        print(" …", end="")
    finally:
        print()
    return "".join(whole)


def _ask_server(url: str, key: str | None, body: dict[str, Any]) -> Pieces:
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(None, connect=_CONNECT_S)
    address = f"{url.rstrip('/').removesuffix('/v1')}/v1/chat/completions"
    try:
        with httpx.stream("POST", address, json=body, headers=headers, timeout=timeout) as response:
            if response.is_error:
                response.read()
                raise _refusal(response.status_code, response.text)
            yield from _texts(response.iter_lines())
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise EngineDead(f"The server at {url} does not answer: {error}.") from None


def _texts(lines: Iterator[str]) -> Iterator[str]:
    """The text in a stream of server-sent chunks."""
    for line in lines:
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            raise RequestError(chunk["error"].get("message", str(chunk["error"])))
        for choice in chunk["choices"]:
            yield choice["delta"].get("content") or ""


def _refusal(status: int, text: str) -> SgjaxError:
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = text[:200]
    kind = EngineDead if status in (401, 403, 404) or status >= 500 else RequestError
    return kind(f"The server answers {status}: {message}")
