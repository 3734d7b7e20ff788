"""From options to figures: a server is found, asked, and what it did is counted."""

import collections
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from sgjax.bench.display import progress_bar
from sgjax.bench.report import Findings, now
from sgjax.bench.serving.client import ServerClient
from sgjax.bench.serving.crowd import Crowd, Run
from sgjax.bench.serving.datasets import (
    Conversation,
    ignores_eos,
    long_turn,
    make_conversations,
)
from sgjax.bench.serving.forms import FORMS, Form
from sgjax.bench.serving.latencies import serving_curves, serving_figures
from sgjax.bench.serving.newcomer import newcomer_figures
from sgjax.bench.serving.options import ServingOptions
from sgjax.errors import BenchmarkFailed, ConfigError

USUAL_VOCABULARY = 32000
"""Where a server does not say how large its vocabulary is, ids are below this."""
BUSY = 0.8
"""Share of a processor from which the client may be what was measured."""


def run_serving(options: ServingOptions) -> tuple[Findings, str | None]:
    """Measures a server; and says what went wrong, if not all did.

    Raises:
        ConfigError: the options make no sense; nothing was asked.
        BenchmarkFailed: the server does not answer, or every request failed.
    """
    return uvloop.run(_Serving(options).run())


class _Serving:
    def __init__(self, options: ServingOptions):
        self._options = options
        self._form: Form = FORMS[options.api]
        self._schema = _read_schema(options.schema_file)

    async def run(self) -> tuple[Findings, str | None]:
        options, started = self._options, now()
        async with ServerClient(
            options.url, api_key=options.api_key, timeout_s=options.timeout_s
        ) as client:
            server = await _ask_server(client)
            vocab_size = self._vocab_size(server)
            conversations = self._conversations(vocab_size)
            crowd = Crowd(client, self._form, await self._settings(client), self._schema)
            await self._probe(crowd, conversations)
            if options.flush_cache:
                await client.flush_cache()
            run = await self._hold(crowd, conversations, vocab_size)
        failure = _failure(run)
        if not run.good:
            raise BenchmarkFailed(failure or "No request was made.")
        figures = serving_figures(run.good, run.seconds, options.limits)
        if options.long_prompt is not None:
            figures += newcomer_figures(run.newcomer, run.good)
        curves = serving_curves(run.good)
        return Findings(started, self._said_of(server), _observed(run), figures, curves), failure

    def _vocab_size(self, server: dict[str, Any]) -> int | None:
        """Of the ids that are sent. None: words are, where the server takes no ids, or its answers,
        which are text, are gone on from."""
        options = self._options
        is_text = options.api == "completions" and options.dataset.name == "multi-turn"
        if not self._form.takes_ids or is_text:
            return None
        return options.vocab_size or server["vocab_size"] or USUAL_VOCABULARY

    def _conversations(self, vocab_size: int | None) -> list[Conversation]:
        """Raises ConfigError where this kind of server cannot be asked so."""
        conversations = make_conversations(self._options.dataset, vocab_size)
        for conversation in conversations:
            self._form.body(conversation[0].content, 1, {})
        return conversations

    async def _settings(self, client: ServerClient) -> dict[str, Any]:
        options = self._options
        settings: dict[str, Any] = {"temperature": options.temperature}
        if ignores_eos(options.dataset.name):
            settings["ignore_eos"] = True
        if options.api != "generate":
            settings["model"] = options.model or await _first_model(client, options.url)
        return settings

    async def _probe(self, crowd: Crowd, conversations: list[Conversation]) -> None:
        """One request that is not measured: a warm-up, and whether the server answers so at all."""
        content = conversations[0][0].content
        with_ids = not isinstance(content, str) and isinstance(content[0], int)
        outcome = await crowd.probe(with_ids=with_ids)
        if outcome.error is not None:
            raise BenchmarkFailed(
                f"The server at {self._options.url} fails the first request to "
                f"{self._form.path}: {outcome.error}"
            )

    async def _hold(
        self, crowd: Crowd, conversations: list[Conversation], vocab_size: int | None
    ) -> Run:
        length, seed, done = self._options.long_prompt, self._options.dataset.seed, 0
        newcomer = None if length is None else long_turn(length, vocab_size, seed)

        def count(_: object) -> None:
            nonlocal done
            done += 1

        total = sum(len(conversation) for conversation in conversations)
        with progress_bar("requests", total, lambda: done):
            return await crowd.hold(
                conversations, self._options.load, seed=seed, newcomer=newcomer, on_outcome=count
            )

    def _said_of(self, server: dict[str, Any]) -> dict[str, Any]:
        options = self._options
        return {
            "url": options.url,
            "api": options.api,
            "server": server,
            "dataset": _said(options.dataset.relevant),
            "load": _said(dataclasses.asdict(options.load)) or "all at once",
            "long_prompt": options.long_prompt,
            "limits": _said(dataclasses.asdict(options.limits)),
        }


def _observed(run: Run) -> dict[str, Any]:
    cached = [outcome.num_cached for outcome in run.good if outcome.num_cached is not None]
    return {
        "seconds": run.seconds,
        "requests": len(run.good),
        "failed_requests": len(run.failed),
        "input_tokens": sum(outcome.num_prompt or 0 for outcome in run.good),
        "cached_tokens": sum(cached) if cached else None,
        "output_tokens": sum(outcome.output_tokens for outcome in run.good),
        "client_cpu_share": run.client_cpu_s / run.seconds,
        "worst_lag_ms": run.worst_lag_s * 1e3,
    }


def busy_client(findings: Findings) -> str | None:
    """A warning, if this process was so busy that it may have been the limit."""
    share = findings.observed["client_cpu_share"]
    if share < BUSY:
        return None
    return (
        f"This client used {share:.0%} of a processor: its figures may be its own rather than the "
        "server's. Run several of it, with a part of the load each."
    )


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that say something."""
    return {key: value for key, value in options.items() if value is not None}


def _read_schema(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"The JSON schema {path} cannot be read: {error}.") from None


async def _ask_server(client: ServerClient) -> dict[str, Any]:
    """What a server says of itself, as far as it does: sgjax does, others say less."""
    model = await client.get("/get_model_info")
    info = await client.get("/get_server_info")
    model = model if isinstance(model, dict) else {}
    info = info if isinstance(info, dict) else {}
    engine = info.get("engine")
    engine = engine if isinstance(engine, dict) else {}
    return {
        "model": model.get("model_path"),
        "vocab_size": model.get("vocab_size"),
        "version": info.get("version"),
        "device": engine.get("device"),
        "tp_size": info.get("tp_size"),
    }


async def _first_model(client: ServerClient, url: str) -> str:
    listed = await client.get("/v1/models")
    try:
        return listed["data"][0]["id"]
    except (TypeError, KeyError, IndexError):
        raise BenchmarkFailed(
            f"The server at {url} lists no model at /v1/models. Is the address right? Otherwise "
            "name the model with --model."
        ) from None


def _failure(run: Run) -> str | None:
    """What went wrong, the commonest first."""
    if not run.failed:
        return None
    reasons = collections.Counter(outcome.error for outcome in run.failed)
    shown = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))
    more = f"; and {len(reasons) - 3} other reasons" if len(reasons) > 3 else ""
    return f"{len(run.failed)} of {len(run.outcomes)} requests failed: {shown}{more}"
