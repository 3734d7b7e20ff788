"""/tokenize and /detokenize, in SGLang's form and in vLLM's."""

from typing import Any

import httpx
import pytest
from sgjax_server.routes import tokens

from tests.front.fakes import BOS, CONTEXT
from tests.server.live import Live, live

ROUTES = ["/tokenize", "/v1/tokenize"]
BACK = ["/detokenize", "/v1/detokenize"]
USER = [{"role": "user", "content": "Hi"}]
CHAT = [BOS, *b"[user]Hi[assistant]"]


def ask(http: httpx.Client, path: str, **body: Any) -> Any:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", ROUTES)
def test_a_prompt_is_its_tokens(http: httpx.Client, path: str) -> None:
    found = ask(http, path, prompt="hü", model="fake")
    ids = [BOS, *"hü".encode()]
    assert found == {"tokens": ids, "count": 4, "max_model_len": CONTEXT}
    assert ask(http, path, prompt="hü", add_special_tokens=False)["tokens"] == ids[1:]
    assert ask(http, path, prompt="", add_special_tokens=False)["count"] == 0
    assert ask(http, path, prompt="hi", return_token_strs=True)["token_strs"] == ["<s>", "h", "i"]


def test_several_prompts_are_several_lists(http: httpx.Client) -> None:
    found = ask(http, "/tokenize", prompt=["a", "bc"], return_token_strs=True)
    assert found["tokens"] == [[BOS, 97], [BOS, 98, 99]] and found["count"] == [2, 3]
    assert found["token_strs"] == [["<s>", "a"], ["<s>", "b", "c"]]


def test_a_chat_is_what_its_template_makes_of_it(http: httpx.Client) -> None:
    assert ask(http, "/tokenize", messages=USER)["tokens"] == CHAT
    without = ask(http, "/tokenize", messages=USER, add_generation_prompt=False)
    assert without["tokens"] == [BOS, *b"[user]Hi"]
    shouted = ask(http, "/tokenize", messages=USER, chat_template_kwargs={"shout": True})
    assert shouted["tokens"] == [BOS, *b"[user]Hi![assistant]"]
    doubled = ask(http, "/tokenize", messages=USER, add_special_tokens=True)
    assert doubled["tokens"] == [BOS, *CHAT]


def test_a_chat_has_as_many_tokens_as_its_completion_says(http: httpx.Client) -> None:
    found = ask(http, "/v1/chat/completions", messages=USER, max_tokens=1)
    assert found["usage"]["prompt_tokens"] == ask(http, "/tokenize", messages=USER)["count"]


@pytest.mark.parametrize("path", BACK)
def test_tokens_are_text_again(http: httpx.Client, path: str) -> None:
    ids = [BOS, *"hü 👋".encode()]
    assert ask(http, path, tokens=ids) == {"text": "hü 👋", "prompt": "hü 👋"}
    assert ask(http, path, tokens=ids, skip_special_tokens=False)["text"] == "<s>hü 👋"
    assert ask(http, path, tokens=[[97], ids])["text"] == ["a", "hü 👋"]
    assert ask(http, path, tokens=[])["prompt"] == ""


def test_long_texts_come_back_whole(http: httpx.Client) -> None:
    text = "wörter 👋 " * 20_000
    ids = ask(http, "/tokenize", prompt=text)["tokens"]
    assert ask(http, "/detokenize", tokens=ids)["text"] == text


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": USER}, "prompt"),
        ("/tokenize", {"prompt": []}, "prompt"),
        ("/tokenize", {"prompt": [1]}, "prompt"),
        ("/tokenize", {"prompt": ["a"] * 3000}, "prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"messages": [{"role": "wizard"}]}, "messages[0].role"),
        ("/tokenize", {"prompt": "a", "return_token_strs": 1}, "return_token_strs"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [1.5]}, "tokens"),
        ("/detokenize", {"tokens": [2**40]}, "tokens"),
        ("/detokenize", {"tokens": [258]}, "tokens"),
        ("/detokenize", {"tokens": [[1], [258]]}, "tokens"),
    ],
)
def test_what_is_no_text_and_no_tokens_is_refused(
    http: httpx.Client, path: str, body: Any, param: str
) -> None:
    answer = http.post(path, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    assert http.post(path, json={**body, "model": "gpt-4"}).status_code in (400, 404)


def test_another_model_is_not_found(http: httpx.Client) -> None:
    for path, body in (("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [1]})):
        answer = http.post(path, json={**body, "model": "gpt-4"})
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"


def test_more_tokens_than_are_taken_at_a_time_are_refused(http: httpx.Client, monkeypatch) -> None:
    monkeypatch.setattr(tokens, "MAX_TOKENS", 3)
    assert http.post("/detokenize", json={"tokens": [[1, 2], [3]]}).status_code == 200
    answer = http.post("/detokenize", json={"tokens": [[1, 2], [3, 4]]})
    assert answer.status_code == 400 and "At most 3" in answer.json()["error"]["message"]


def test_without_a_tokenizer_they_say_so() -> None:
    with live(without_tokenizer=True) as server:
        for path, body in (("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [1]})):
            answer = httpx.post(server.url + path, json=body)
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "unsupported_parameter"


def embed(server: Live, **body: Any) -> tuple[int, Any]:
    answer = httpx.post(f"{server.url}/v1/embeddings", json=body)
    return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize("given", ["a", ["a", "b"], [1, 2], [[1], [2, 3]]])
@pytest.mark.parametrize("more", [{}, {"encoding_format": "base64", "dimensions": 8, "user": "u"}])
def test_embeddings_are_refused_with_the_reason(server: Live, given: Any, more: Any) -> None:
    status, error = embed(server, input=given, model="fake", **more)
    assert (status, error["param"]) == (400, "model")
    assert "generates text and has no embeddings" in error["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", None),
        ("input", ""),
        ("input", []),
        ("input", [""]),
        ("input", [[]]),
        ("input", ["a", 1]),
        ("input", ["a"] * 2049),
        ("input", [-1]),
        ("input", [258]),
        ("input", [[1], [300]]),
        ("encoding_format", "int8"),
        ("dimensions", 0),
        ("dimensions", True),
    ],
)
def test_a_bad_body_of_embeddings_is_told_first(server: Live, field: str, value: Any) -> None:
    status, error = embed(server, **{"input": "a", field: value})
    assert (status, error["param"]) == (400, field)
    assert "generates text" not in error["message"]


def test_embeddings_of_another_model_are_not_found(server: Live) -> None:
    status, error = embed(server, input="a", model="text-embedding-3-small")
    assert (status, error["code"]) == (404, "model_not_found")
