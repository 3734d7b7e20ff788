"""Programs on a server over HTTP: sgjax's or SGLang's, by POST /generate.

A call sends the whole text: what came before is in the server's prefix cache.
"""

import base64
import dataclasses
import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
import orjson

from sgjax.errors import (
    ConfigError,
    EngineDead,
    InvalidProgram,
    InvalidRequest,
    RequestFailed,
    SgjaxError,
)
from sgjax.front.loop_thread import LoopThread
from sgjax.lang.backends.contract import Answer, Call
from sgjax.lang.chat_template import (
    ChatTemplate,
    get_chat_template,
    get_chat_template_by_model_path,
    template_of_texts,
)
from sgjax.lang.choices import ChoicesDecision, ChoicesMethod, mean_logprob, wants_unconditional
from sgjax.lang.transcript import Transcript

_CONNECT_S = 10.0
_OVERLAP = 2
"""Tokens at a prompt's end that may be others once a choice stands behind it."""
_MOST_CONNECTIONS = 1024
_NOT_ALLOWED = 405
"""What SGLang 0.3 says to a POST of what it gives for a GET."""


class RuntimeEndpoint:
    """A backend that is a server."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        verify: str | bool | None = None,
        chat_template_name: str | None = None,
    ):
        """`verify`: a file of certificates, or False to trust any; `chat_template_name`: instead of
        the one of the server's model.

        Raises:
            ConfigError: there is no such server, or it wants another key.
        """
        self._url = base_url.rstrip("/")
        self._options: dict[str, Any] = {
            "headers": {} if api_key is None else {"Authorization": f"Bearer {api_key}"},
            "verify": True if verify is None else verify,
        }
        self._model = self._ask_model()
        self._template_name = chat_template_name

    @property
    def loop(self) -> LoopThread:
        return self._loop

    @functools.cached_property
    def _loop(self) -> LoopThread:
        return LoopThread("sgjax-endpoint")

    @property
    def chat_template(self) -> ChatTemplate:
        """As the server has it; where it does not tell, by the model's name."""
        return self._chat_template

    @functools.cached_property
    def _chat_template(self) -> ChatTemplate:
        path = self._model["model_path"]
        if self._template_name is not None:
            return get_chat_template(self._template_name)
        if found := self._model.get("role_texts"):
            return template_of_texts(path, found["texts"], found["opening"], found["stops"])
        return get_chat_template_by_model_path(path)

    @property
    def reads(self) -> frozenset[str]:
        """Of a server that does not say, images: it will say when it gets one."""
        return frozenset(self._model.get("reads", ("image",)))

    @property
    def model_info(self) -> dict[str, Any]:
        """What the server says of its model."""
        return self._model

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        return _answer(await self._post(_body(transcript, call)))

    async def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]:
        body = {**_body(transcript, call), "stream": True}
        try:
            async with self._client.stream("POST", "/generate", content=_json(body)) as response:
                if response.is_error:
                    raise _error(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    if line == "data: [DONE]":
                        return
                    if line.startswith("data: "):
                        yield _answer(_event(line.removeprefix("data: ")))
        except httpx.TransportError as error:
            raise self._lost(error) from error
        raise EngineDead(f"The server at {self._url} ended its stream before the answer's end.")

    async def select(
        self,
        transcript: Transcript,
        choices: Sequence[str],
        *,
        method: ChoicesMethod,
        temperature: float,
    ) -> ChoicesDecision:
        """The prompt is computed once; then all choices in one call, and the prompt itself beside
        them, whose last tokens tell where the choices' own begin."""
        prompt = transcript.text
        images = _images(transcript)
        first = await self._post({"text": prompt, **images, **_NOTHING})
        start = max(first["meta_info"]["prompt_tokens"] - _OVERLAP, 0)
        texts = [prompt, *(prompt + choice for choice in choices)]
        if images:
            images = {"image_data": [images["image_data"]] * len(texts)}
        base, *scored = await self._score({"text": texts, **images}, start)
        own = [tokens[_num_shared(base, tokens) :] for tokens in scored]
        alone = None
        if wants_unconditional(method):
            ids = [[token for _, token, *_ in tokens] for tokens in own]
            alone = await self._score({"input_ids": ids}, 0)
        return method(
            choices=choices,
            normalized_prompt_logprobs=[mean_logprob(tokens) for tokens in own],
            input_token_logprobs=own,
            output_token_logprobs=[[] for _ in choices],
            unconditional_token_logprobs=alone,
        )

    async def cache_prefix(self, text: str) -> None:
        await self._post({"text": text, **_NOTHING})

    async def before_fork(self, transcript: Transcript) -> None:
        """sgjax computes once what requests share that come together; others may not."""
        if "role_texts" not in self._model and transcript.length:
            await self._post({"text": transcript.text, **_images(transcript), **_NOTHING})

    def speculating(self, num_tokens: int) -> "RuntimeEndpoint":
        raise InvalidProgram(
            "num_api_spec_tokens saves calls of an API that is paid by the call; this server "
            "caches what calls have in common. Leave it out."
        )

    def end_role(self, transcript: Transcript) -> None:
        """Nothing."""

    def flush_cache(self) -> bool:
        """Empties the prefix cache; False while requests are under way."""
        try:
            response = httpx.post(f"{self._url}/flush_cache", **self._options)
            if response.status_code == _NOT_ALLOWED:
                response = httpx.get(f"{self._url}/flush_cache", **self._options)
        except httpx.TransportError as error:
            raise self._lost(error) from error
        return response.is_success

    def get_server_info(self) -> dict[str, Any]:
        """What the server says of itself."""
        try:
            return self._get("/get_server_info")
        except InvalidRequest:  # SGLang 0.3 calls it so
            return self._get("/get_server_args")

    def shutdown(self) -> None:
        """Gives up what is under way; the server goes on. May be called twice."""
        if "_loop" not in self.__dict__ or self.loop.loop.is_closed():
            return
        if "_client" in self.__dict__:
            self.loop.run(self._client.aclose())
        self.loop.close()

    @functools.cached_property
    def _client(self) -> httpx.AsyncClient:
        """Of the loop."""
        limits = httpx.Limits(max_connections=_MOST_CONNECTIONS)
        timeout = httpx.Timeout(None, connect=_CONNECT_S)
        headers = {**self._options["headers"], "Content-Type": "application/json"}
        return httpx.AsyncClient(
            base_url=self._url,
            headers=headers,
            verify=self._options["verify"],
            limits=limits,
            timeout=timeout,
        )

    async def _post(self, body: Mapping[str, Any]) -> Any:
        try:
            response = await self._client.post("/generate", content=_json(body))
        except httpx.TransportError as error:
            raise self._lost(error) from error
        if response.is_error:
            raise _error(response.status_code, response.content)
        return orjson.loads(response.content)

    async def _score(self, prompts: Mapping[str, Any], start: int) -> list[list[Any]]:
        outs = await self._post(
            {
                **prompts,
                **_NOTHING,
                "return_logprob": True,
                "logprob_start_len": start,
                "return_text_in_logprobs": True,
            }
        )
        return [out["meta_info"]["input_token_logprobs"] for out in outs]

    def _ask_model(self) -> dict[str, Any]:
        try:
            found = self._get("/get_model_info")
        except SgjaxError as error:
            raise ConfigError(
                f"No server of sgjax or SGLang answers at {self._url}: {error}"
            ) from error
        if not isinstance(found, dict) or "model_path" not in found:
            raise ConfigError(
                f"{self._url} is no server of sgjax or SGLang: it does not say what its model is. "
                "For other makers' servers there is the backend OpenAI(..., base_url=...)."
            )
        return found

    def _get(self, path: str) -> Any:
        try:
            response = httpx.get(f"{self._url}{path}", timeout=_CONNECT_S, **self._options)
            if response.is_error:
                raise _error(response.status_code, response.content)
            return response.json()
        except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise self._lost(error) from error
        except ValueError:
            return None  # not JSON

    def _lost(self, error: Exception) -> EngineDead:
        what = str(error) or type(error).__name__
        return EngineDead(f"The server at {self._url} cannot be reached: {what.rstrip('.')}.")


_NOTHING = {"sampling_params": {"max_new_tokens": 0}}
"""What generates nothing, and leaves the prompt in the cache."""


def _body(transcript: Transcript, call: Call) -> dict[str, Any]:
    text = {"text": transcript.text, **_images(transcript)}
    return {**text, "sampling_params": _params(call), **call.logprobs}


def _params(call: Call) -> dict[str, Any]:
    """A JSON schema as text: SGLang's server takes no other."""
    schema = call.params.get("json_schema")
    if not isinstance(schema, Mapping):
        return dict(call.params)
    return {**call.params, "json_schema": orjson.dumps(schema).decode()}


def _images(transcript: Transcript) -> dict[str, Any]:
    data = [base64.b64encode(each.data).decode() for each in transcript.attachments]
    return {"image_data": data} if data else {}


def _answer(out: Mapping[str, Any]) -> Answer:
    return Answer(out["text"], out["meta_info"])


def _event(data: str) -> Any:
    out = orjson.loads(data)
    if "error" in out:
        raise RequestFailed(out["error"].get("message") or str(out["error"]))
    return out


def _error(status: int, body: bytes) -> SgjaxError:
    """What the server says went wrong."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = {}
    said = said if isinstance(said, dict) else {}
    error = said.get("error", said)
    found = error if isinstance(error, dict) else {"message": error}
    message = found.get("message") or body[:200].decode(errors="replace") or "no reason given"
    if 400 <= status < 500:
        return InvalidRequest(f"{message} (status {status})", param=found.get("param"))
    return RequestFailed(f"The server failed, status {status}: {message}")


def _num_shared(base: Sequence[Any], tokens: Sequence[Any]) -> int:
    """How many tokens are the prompt's; one at least is the choice's."""
    pairs = zip(base, tokens[:-1], strict=False)
    return next(
        (i for i, (a, b) in enumerate(pairs) if a[1] != b[1]), min(len(base), len(tokens) - 1)
    )


def _json(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body, default=_plain)
    except orjson.JSONEncodeError as error:
        raise InvalidProgram(
            f"This cannot be sent to a server: {error.__cause__ or error}"
        ) from None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Sequence | frozenset | set):
        return list(value)
    raise TypeError(f"{value!r:.80}")
