"""What a person sees once the server listens: where it is, what it serves, a first request."""

import sys

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sgjax_server.service import Service


def show_ready(service: Service, console: Console | None = None) -> None:
    """Prints one screen to stderr, as plain lines where that is no terminal."""
    console = console or Console(file=sys.stderr)
    facts = _facts(service)
    command = _curl(service)
    if not console.is_terminal:
        for name, value in facts.items():
            print(f"{name}: {value}", file=console.file)
        print(f"try: {command}", file=console.file, flush=True)
        return
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(Text(name, style="dim"), Text(value))
    console.print(Panel(table, title="[bold]sgjax serves[/]", border_style="green", expand=False))
    console.print("[dim]try[/]", highlight=False)
    console.print(command, soft_wrap=True, highlight=False, markup=False)


def url_of(service: Service) -> str:
    """Where a client on this machine finds the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(service.config.host, service.config.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{service.config.port}"


def _facts(service: Service) -> dict[str, str]:
    info = service.client.info
    return {
        "url": url_of(service),
        "model": f"{service.model_name} ({info.architecture}, {info.dtype})",
        "context": f"{info.context_length:,} tokens",
        "cache": f"{info.max_total_tokens:,} tokens",
        "requests": f"{info.max_running_requests:,} at a time",
        "device": info.device if info.tp_size == 1 else f"{info.tp_size} x {info.device}",
    }


def _curl(service: Service) -> str:
    key = "" if service.config.api_key is None else ' -H "Authorization: Bearer $API_KEY"'
    chats = service.chat_template is not None and service.chat_template.problem is None
    path, body = "/v1/chat/completions", '{"messages": [{"role": "user", "content": "Hello!"}]}'
    if service.tokenizer is None:
        path, body = "/generate", '{"input_ids": [1, 2, 3]}'
    elif not chats:
        path, body = "/v1/completions", '{"prompt": "Once upon a time,"}'
    return f"curl {url_of(service)}{path}{key} -H 'Content-Type: application/json' -d '{body}'"
