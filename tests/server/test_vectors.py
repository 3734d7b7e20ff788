"""Routes of models that give vectors, against a server with a tiny one of each kind."""

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from safetensors.numpy import load_file, save_file
from sgjax_server.app import create_app

from sgjax.config import ServeConfig
from sgjax.engine.local_client import LocalClient
from sgjax.front.files import chat_template_of, tokenizer_of
from tests.server.live import serving
from tests.tiny import TinyLlama
from tests.tiny_tokenizer import PIECES, save_tokenizer

OPTIONS: Any = {
    "page_size": 4,
    "max_total_tokens": 512,
    "max_running_requests": 4,
    "chunked_prefill_size": 32,
}
MODEL = TinyLlama(vocab_size=len(PIECES), context_length=64)


@contextmanager
def served(folder: Path) -> Iterator[httpx.Client]:
    config = ServeConfig(model_path=str(folder), **OPTIONS)
    client = LocalClient.start(config)
    app = create_app(client, config, tokenizer_of(config), chat_template_of(config))
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as http:
        try:
            yield http
        finally:
            closing = asyncio.run_coroutine_threadsafe(client.close(), app.state.loop)
            closing.result(30)


def save(folder: Path, architecture: str, **config: Any) -> Path:
    """TinyLlama under another architecture, and a tokenizer."""
    MODEL.save(folder)
    save_tokenizer(folder)
    path = folder / "config.json"
    values = json.loads(path.read_text()) | {"architectures": [architecture]} | config
    path.write_text(json.dumps(values))
    return folder


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(save(tmp_path_factory.mktemp("embedder"), "LlamaModel")) as http:
        yield http


def classifier_of(folder: Path, labels: list[str]) -> Path:
    named = {str(index): label for index, label in enumerate(labels)}
    save(folder, "LlamaForSequenceClassification", id2label=named)
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    random = np.random.default_rng(5)
    weights["score.weight"] = random.normal(size=(len(labels), MODEL.d_model)).astype(np.float32)
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = classifier_of(tmp_path_factory.mktemp("classifier"), ["bad", "good", "so-so"])
    with served(folder) as http:
        yield http


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(classifier_of(tmp_path_factory.mktemp("reranker"), ["relevance"])) as http:
        yield http


def embed(http: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = http.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(http: httpx.Client, route: str, **body: Any) -> dict[str, Any]:
    answer = http.post(route, json=body)
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


def test_an_embedding_has_length_one_and_comes_for_every_input(embedder):
    answer = embed(embedder, input=["name", "abc", "name"], model="default")
    vectors = [np.array(each["embedding"]) for each in answer["data"]]
    assert [each["index"] for each in answer["data"]] == [0, 1, 2]
    assert [vector.shape for vector in vectors] == [(32,)] * 3
    np.testing.assert_allclose([np.linalg.norm(vector) for vector in vectors], 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-5)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert answer["object"] == "list"


def test_token_ids_give_what_their_text_gives(embedder):
    ids = embedder.post("/tokenize", json={"prompt": "name 10"}).json()["tokens"]
    of_text, of_ids = (
        embed(embedder, input=given)["data"][0]["embedding"] for given in ("name 10", ids)
    )
    np.testing.assert_allclose(of_text, of_ids, atol=1e-5)
    batch = embed(embedder, input=[ids, ids[:1]])["data"]
    np.testing.assert_allclose(batch[0]["embedding"], of_ids, atol=1e-5)


def test_openais_client_reads_base64_and_floats_alike(embedder):
    with openai.OpenAI(base_url=f"{embedder.base_url}/v1", api_key="any") as ai:
        in_base64 = ai.embeddings.create(model="default", input="abc").data[0].embedding
        as_floats = ai.embeddings.create(
            model="default", input="abc", encoding_format="float"
        ).data[0]
    np.testing.assert_allclose(in_base64, as_floats.embedding, atol=1e-7)
    raw = embed(embedder, input="abc", encoding_format="base64")["data"][0]["embedding"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(raw), "<f4"), in_base64, atol=1e-7)


def test_fewer_dimensions_are_the_first_ones_at_length_one(embedder):
    whole, cut = (
        np.array(embed(embedder, input="abc", dimensions=count)["data"][0]["embedding"])
        for count in (32, 8)
    )
    np.testing.assert_allclose(cut, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-6)
    error = refused(embedder, "/v1/embeddings", input="abc", dimensions=33)
    assert error["param"] == "dimensions"
    assert "33, but this model's embeddings have 32" in error["message"]


def test_sglangs_form_of_one_and_of_several(embedder):
    expected = embed(embedder, input="abc")["data"][0]["embedding"]
    one = embedder.post("/encode", json={"text": "abc", "rid": "mine"}).json()
    np.testing.assert_allclose(one["embedding"], expected, atol=1e-5)
    assert one["meta_info"] == {"id": "mine", "prompt_tokens": 1, "cached_tokens": 0}
    several = embedder.post("/encode", json={"text": ["abc", "name"]}).json()
    assert [each["index"] for each in several] == [0, 1]
    np.testing.assert_allclose(several[0]["embedding"], expected, atol=1e-5)


def test_documents_are_ranked_by_the_cosine_of_embeddings(embedder):
    documents = ["name", "10", "abc", "true"]
    body = {"query": "abc", "documents": documents, "top_n": 2}
    answer = embedder.post("/v1/rerank", json=body).json()
    vectors = {
        text: np.array(embed(embedder, input=text)["data"][0]["embedding"])
        for text in {*documents, "abc"}
    }
    cosines = [float(vectors["abc"] @ vectors[text]) for text in documents]
    order = np.argsort(-np.array(cosines))[:2].tolist()
    assert [each["index"] for each in answer["results"]] == order
    assert answer["results"][0]["document"] == {"text": "abc"}
    np.testing.assert_allclose(answer["results"][0]["relevance_score"], 1, atol=1e-5)
    np.testing.assert_allclose(
        [each["relevance_score"] for each in answer["results"]],
        [cosines[index] for index in order],
        atol=1e-5,
    )
    bare = embedder.post("/rerank", json=body | {"return_documents": False}).json()
    assert [sorted(each) for each in bare["results"]] == [["index", "relevance_score"]] * 2


def test_pairs_are_scored_in_vllms_form(embedder):
    answer = embedder.post("/v1/score", json={"text_1": "abc", "text_2": ["abc", "name"]}).json()
    assert [each["index"] for each in answer["data"]] == [0, 1]
    np.testing.assert_allclose(answer["data"][0]["score"], 1, atol=1e-5)
    texts = [f"name {i}" for i in range(20)]
    same = embedder.post("/v1/score", json={"text_1": texts, "text_2": texts}).json()["data"]
    assert 0.999 < min(each["score"] for each in same) <= max(each["score"] for each in same) <= 1
    error = refused(embedder, "/v1/score", text_1=["a", "b"], text_2=["a", "b", "c"])
    assert "text_1 has 2 texts and text_2 3" in error["message"]


def test_a_classifier_tells_the_likeliest_label_and_all_probabilities(classifier):
    (bare,) = classifier.post("/classify", json={"text": ["name 10"]}).json()
    answer = classifier.post("/v1/classify", json={"input": "name 10"}).json()
    scores = np.exp(np.array(bare["embedding"]))
    (found,) = answer["data"]
    np.testing.assert_allclose(found["probs"], scores / scores.sum(), atol=1e-5)
    assert found["label"] == ["bad", "good", "so-so"][int(scores.argmax())]
    assert found["num_classes"] == 3


def test_a_classifier_has_no_embeddings_and_ranks_nothing_by_three_labels(classifier):
    assert "Ask /classify" in refused(classifier, "/v1/embeddings", input="abc")["message"]
    error = refused(classifier, "/v1/rerank", query="a", documents=["b"])
    assert "scores 3 labels; pairs are scored by one that has a single one" in error["message"]


def test_a_cross_encoder_ranks_pairs_by_its_only_label(reranker):
    documents = ["name", "10", "abc"]
    body = {"query": "true", "documents": [{"text": text} for text in documents]}
    results = reranker.post("/v2/rerank", json=body).json()["results"]
    pairs = [f"true{text}" for text in documents]  # this tokenizer puts nothing around a pair
    raw = reranker.post("/classify", json={"text": pairs}).json()
    expected = 1 / (1 + np.exp(-np.array([each["embedding"][0] for each in raw])))
    assert [each["index"] for each in results] == np.argsort(-expected).tolist()
    np.testing.assert_allclose(
        [each["relevance_score"] for each in results], np.sort(expected)[::-1], atol=1e-5
    )


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/generate", {"text": "abc"}),
        ("/v1/completions", {"prompt": "abc", "model": "default"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "abc"}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "abc"}], "max_tokens": 4}),
    ],
)
def test_text_is_not_to_be_had_of_a_model_that_gives_vectors(embedder, route, body):
    message = refused(embedder, route, **body)["message"]
    assert "generates no text: it is served to embed. Ask /v1/embeddings" in message
    assert not embedder.get("/get_model_info").json()["is_generation"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"input": "z" * 80}, "maximum context length is 64 tokens, but the prompt has 80"),
        ({"input": [MODEL.vocab_size]}, "is not in this model's vocabulary"),
        ({"input": []}, "no list may be empty"),
        ({"input": ""}, "must not be empty"),
        ({"input": ["a", ""]}, "must not be empty"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({}, "input"),
    ],
)
def test_what_cannot_be_embedded_is_refused_and_the_next_is_served(embedder, body, message):
    assert message in refused(embedder, "/v1/embeddings", **body)["message"]
    assert len(embed(embedder, input="abc")["data"]) == 1
    stats = embedder.get("/get_server_info").json()["stats"]
    assert stats["num_running"] == stats["num_waiting"] == 0


def test_unknown_models_are_not_found(embedder):
    answer = embedder.post("/v1/embeddings", json={"input": "a", "model": "other"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_labels_are_as_likely_as_a_model_that_generates_says(tmp_path):
    folder = save(tmp_path, "LlamaForCausalLM")
    with served(folder) as http:
        body = {
            "query": "name ",
            "items": ["abc", "10"],
            "label_token_ids": [3, 40],
        }
        answer = http.post("/v1/score", json=body).json()
        ids = http.post("/tokenize", json={"prompt": ["name abc", "name 10"]}).json()["tokens"]
        expected = np.exp([MODEL.logprobs(each)[-1][[3, 40]] for each in ids])
        np.testing.assert_allclose(answer["scores"], expected, rtol=1e-3)
        answer = http.post("/v1/score", json=body | {"apply_softmax": True}).json()
        np.testing.assert_allclose(
            answer["scores"], expected / expected.sum(1, keepdims=True), rtol=1e-3
        )
        query, *items = http.post("/tokenize", json={"prompt": ["name ", "abc", "10"]}).json()[
            "tokens"
        ]
        given = body | {"query": query, "items": items, "item_first": True}
        answer = http.post("/v1/score", json=given).json()
        expected = np.exp([MODEL.logprobs(item + query)[-1][[3, 40]] for item in items])
        np.testing.assert_allclose(answer["scores"], expected, rtol=1e-3)
        error = http.post("/v1/score", json=given | {"query": "name "}).json()["error"]
        assert error["message"] == "query and items must both be texts, or both token ids."
        error = http.post("/v1/score", json=given | {"query": [-1]}).json()["error"]
        assert "must be a text that is not empty, or a list of token ids" in error["message"]
        given = body | {"label_token_ids": [3, MODEL.vocab_size]}
        error = http.post("/v1/score", json=given).json()["error"]
        assert error["param"] == "label_token_ids"
        error = http.post("/v1/score", json={"query": "a", "items": "b"}).json()["error"]
        assert "query needs items and label_token_ids" in error["message"]
        error = http.post("/v1/embeddings", json={"input": "a"}).json()["error"]
        assert "or this one with --is-embedding" in error["message"]
