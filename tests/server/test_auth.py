"""The key: on every route but the probes."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.server.live import Live, live

KEY = "sesame-öffne-dich"
OPEN = {"/health", "/health/ready"}


@pytest.fixture(scope="module")
def locked() -> Iterator[Live]:
    with live(api_key=KEY) as server:
        yield server


def walk(routes: list[Any]) -> Iterator[tuple[str, str]]:
    """Every (method, path). Newer FastAPIs keep an included router as one entry."""
    for route in routes:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from walk(inner.routes)
        else:
            yield from ((method, route.path) for method in route.methods)


def all_routes(server: Live) -> list[tuple[str, str]]:
    return sorted(walk(server.app.routes))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {KEY}".encode()},
        {"authorization": KEY.encode()},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {KEY}x".encode()},
        {"authorization": b"Bearer \xff"},
        {"x-api-key": "wrong"},
        {"x-api-key": b"\xff"},
        {"x-api-key": ""},
    ],
    ids=str,
)
def test_no_route_but_the_probes_answers_without_the_key(locked: Live, headers: Any) -> None:
    routes = all_routes(locked)
    assert len(routes) >= 20 and ("POST", "/v1/chat/completions") in routes
    with httpx.Client(base_url=locked.url) as http:
        for method, path in [*routes, ("GET", "/nowhere"), ("OPTIONS", "/generate")]:
            answer = http.request(method, path.replace("{name:path}", "fake"), headers=headers)
            if path in OPEN:
                assert answer.status_code == 200
            else:
                assert answer.status_code == 401, (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"
                if method != "HEAD":
                    error = answer.json()["error"]
                    is_anthropic = path.startswith("/v1/messages")
                    said = error["type"] if is_anthropic else error["code"]
                    assert said == ("authentication_error" if is_anthropic else "invalid_api_key")


def test_the_key_may_come_as_anthropics_clients_send_it(locked: Live) -> None:
    headers = {"x-api-key": KEY.encode()}
    answer = httpx.get(f"{locked.url}/v1/models", headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 200


def test_a_slash_too_many_is_no_way_around(locked: Live) -> None:
    for path in ("//v1/models", "/health/../v1/models", "/health//", "//metrics"):
        answer = httpx.get(locked.url + path)
        assert answer.status_code in (401, 404), path
        assert "sgjax_" not in answer.text and '"data"' not in answer.text


def test_the_key_opens_every_route(locked: Live) -> None:
    headers = {"authorization": f"bearer {KEY}".encode()}
    with httpx.Client(base_url=locked.url, headers=headers) as http:  # type: ignore[arg-type]
        for method, path in all_routes(locked):
            answer = http.request(method, path.replace("{name:path}", "fake"))
            if answer.status_code == 404 and "_id}" in path:
                assert answer.json()["error"]["message"].startswith("There is no"), path
            else:
                assert answer.status_code not in (401, 403, 404, 405, 500), (method, path)


def test_the_openai_client_is_told_what_is_wrong(locked: Live) -> None:
    with openai.OpenAI(base_url=f"{locked.url}/v1", api_key="no", max_retries=0) as ai:
        with pytest.raises(openai.AuthenticationError) as caught:
            ai.models.list()
        assert caught.value.code == "invalid_api_key"


def test_a_bad_key_is_refused_before_the_body_is_read(locked: Live) -> None:
    answer = httpx.post(f"{locked.url}/generate", content=b"{not json")
    assert answer.status_code == 401


def test_without_a_key_any_is_accepted(http: httpx.Client) -> None:
    for headers in ({}, {"authorization": "Bearer whatever"}):
        assert http.get("/v1/models", headers=headers).status_code == 200
