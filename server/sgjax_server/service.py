"""What the routes of one app share."""

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request

from sgjax.config import ServeConfig
from sgjax.engine.client import EngineClient
from sgjax.errors import Draining, EngineDead
from sgjax.front.generator import Generation, Generator
from sgjax.front.request import GenerationRequest
from sgjax.text import ChatTemplate, Tokenizer
from sgjax_server.batches.file_store import FileStore
from sgjax_server.batches.registry import Batches
from sgjax_server.errors import Unsupported
from sgjax_server.metrics import Metrics
from sgjax_server.model_formats import formats_of
from sgjax_server.protocol import IGNORED, UNSUPPORTED, Body
from sgjax_server.responses.registry import Responses

logger = logging.getLogger("sgjax.server")

MAX_WARNINGS = 100


@dataclasses.dataclass(eq=False)
class Service:
    """The engine and what stands in front of it, for one app."""

    client: EngineClient
    config: ServeConfig
    tokenizer: Tokenizer | None
    chat_template: ChatTemplate | None
    metrics: Metrics = dataclasses.field(default_factory=Metrics)
    is_draining: bool = False
    started_at: int = dataclasses.field(default_factory=lambda: int(time.time()))
    files: FileStore = dataclasses.field(init=False)
    batches: Batches = dataclasses.field(init=False)
    """Made with the app, whose routes they ask."""
    responses: Responses = dataclasses.field(default_factory=Responses)

    def __post_init__(self) -> None:
        waiting, running = self.config.max_queued_requests, self.client.info.max_running_requests
        self.generator = Generator(
            self.client,
            self.tokenizer,
            self.metrics,
            max_live=waiting + running,
            stream_interval=self.config.stream_interval,
            json_whitespace=self.config.json_whitespace,
        )
        folder = self.config.file_storage_path
        self.files = FileStore(None if folder is None else Path(folder))
        self.formats = formats_of(self.config, self.chat_template, self.tokenizer)
        self.default_sampling = _readable(self.client.info.default_sampling)
        self._warned: set[str] = set()

    @property
    def model_name(self) -> str:
        return self.config.served_model_name or self.config.model_path

    async def start(
        self, requests: list[GenerationRequest], *, is_streamed: bool = False
    ) -> Generation:
        """Starts requests, unless nothing new is taken. Raises Generator.start's errors too."""
        self.check_open()
        generation = await self.generator.start(requests, is_streamed=is_streamed)
        if self.config.log_requests:
            for sample in generation.samples:
                logger.info(
                    "Request %r: %d prompt tokens, %r",
                    sample.rid,
                    len(sample.prompt.ids),
                    sample.submit.params,
                )
        return generation

    def needs_tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises Unsupported where there is none."""
        if self.tokenizer is None:
            raise Unsupported(
                "This route speaks text, and the server was started with --skip-tokenizer-init. "
                "POST /generate takes input_ids."
            )
        return self.tokenizer

    async def close(self) -> None:
        """Ends what the server does by itself, and lets go of its files."""
        await self.batches.stop()
        await self.responses.stop()
        self.files.close()

    def check_open(self) -> None:
        """Raises Draining or EngineDead where nothing new is taken."""
        if self.is_draining:
            raise Draining("The server is stopping and takes nothing new. Try another, or later.")
        if not self.client.is_alive:
            raise EngineDead("The engine has ended. The server must be started again.")

    def check_extras(
        self,
        body: Body,
        ignored: Set[str] = IGNORED,
        unsupported: Mapping[str, Sequence[Any]] = UNSUPPORTED,
    ) -> None:
        """Refuses fields that ask for what is not there; warns once of each unknown name."""
        for name, value in (body.model_extra or {}).items():
            if name in unsupported:
                if value and value not in unsupported[name]:
                    raise Unsupported(
                        f"{name} is not supported by this server yet. Leave it out.", param=name
                    )
            elif name not in ignored and name not in self._warned:
                self._warn(name)

    def _warn(self, name: str) -> None:
        if len(self._warned) < MAX_WARNINGS:
            self._warned.add(name)
            logger.warning("Requests have a field %.80r that is not known here: ignored.", name)


def _readable(defaults: dict[str, float]) -> dict[str, float]:
    """generation_config.json's values as SamplingParams has them: there, a top_k of 0 means all."""
    out = dict(defaults)
    if "top_k" in out:
        out["top_k"] = int(out["top_k"]) or -1
    return out


async def _service_of(request: Request) -> Service:
    return request.app.state.service


ServiceOf = Annotated[Service, Depends(_service_of)]
"""The type of a route's parameter that gets the app's Service."""
