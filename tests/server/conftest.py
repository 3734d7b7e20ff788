"""One server for all tests of a file; each gets it with a fresh fake engine."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.server.live import TEXT, Live, live


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Live]:
    with live(max_queued_requests=300) as found:
        yield found


@pytest.fixture
def server(shared_server: Live) -> Iterator[Live]:
    """Nothing may be under way at the end of a test."""
    shared_server.client.reset(TEXT)
    yield shared_server
    shared_server.wait_for_quiet()


@pytest.fixture(scope="module")
def http_client(shared_server: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shared_server.url, timeout=10) as client:
        yield client


@pytest.fixture
def http(server: Live, http_client: httpx.Client) -> httpx.Client:
    return http_client


@pytest.fixture(scope="module")
def ai_client(shared_server: Live) -> Iterator[openai.OpenAI]:
    url = f"{shared_server.url}/v1"
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def ai(server: Live, ai_client: openai.OpenAI) -> openai.OpenAI:
    return ai_client
