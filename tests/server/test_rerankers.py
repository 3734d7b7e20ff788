"""Cross-encoders behind /v1/rerank and /v1/score: transformers' scores of the same pairs of texts,
which a tokenizer with a template for pairs puts together."""

import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tokenizers
import torch
import transformers
from tokenizers import models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from tests.models.cases import encoders
from tests.models.harness import make_weights_matter
from tests.server.test_vectors import refused, served

pytestmark = pytest.mark.torch

QUERY = "how deep is the sea"
DOCUMENTS = ["deep", "the sea is deep [SEP] or it is not", "a </s> b", "x" * 20]
LONG = "sea " * 62
TOLERANCE = 1e-5


def save_word_pieces(folder: Path) -> int:
    """BERT's tokenizer, of letters. Gives the size of the vocabulary."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*string.ascii_lowercase, "[", "]", "<", ">", "/", "sea", "the"]
    pieces = [*special, *letters, *(f"##{letter}" for letter in string.ascii_lowercase)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=False))
    save_tokenizer(folder, tokenizer, names)
    return len(pieces)


def save_unigrams(folder: Path) -> int:
    """XLM-RoBERTa's, of letters: two separators stand between the texts of a pair."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*special, "\u2581", *string.ascii_lowercase, "\u2581sea", "\u2581the", "ee"]
    scores = [(piece, 0.0 if piece in special else -len(pieces) / len(piece)) for piece in pieces]
    tokenizer = tokenizers.Tokenizer(models.Unigram(scores, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), special, strict=True))
    save_tokenizer(folder, tokenizer, names)
    return len(pieces)


def save_tokenizer(folder: Path, tokenizer: tokenizers.Tokenizer, names: dict[str, str]) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


class Model:
    """transformers' model and tokenizer of a folder that a server serves."""

    def __init__(self, folder: Path, cls: Any, config: Any):
        torch.manual_seed(0)
        self.model = cls(config).eval()
        make_weights_matter(self.model)
        with torch.no_grad():
            for weight in self.model.parameters():
                weight *= 2 if weight.ndim > 1 else 1  # or else pairs would score much alike
        self.model.save_pretrained(folder)
        self.has_types = config.type_vocab_size > 1
        self.tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json")
        )

    def __call__(self, *texts: str) -> Any:
        given = self.tokenizer(*texts, return_tensors="pt", return_token_type_ids=self.has_types)
        with torch.no_grad():
            return self.model(**given)

    def score(self, first: str, second: str) -> float:
        return float(torch.sigmoid(self(first, second).logits[0, 0]))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Model]]:
    folder = tmp_path_factory.mktemp("bert")
    sizes = encoders.SIZES | {"vocab_size": save_word_pieces(folder), "pad_token_id": 0}
    config = transformers.BertConfig(**sizes, num_labels=1)
    model = Model(folder, transformers.BertForSequenceClassification, config)
    with served(folder) as http:
        yield http, model


@pytest.fixture(scope="module")
def xlm_roberta(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Model]]:
    folder = tmp_path_factory.mktemp("xlm_roberta")
    sizes = encoders.SIZES | {"vocab_size": save_unigrams(folder), "max_position_embeddings": 66}
    config = transformers.XLMRobertaConfig(**sizes, type_vocab_size=1, num_labels=1)
    model = Model(folder, transformers.XLMRobertaForSequenceClassification, config)
    with served(folder) as http:
        yield http, model


@pytest.mark.parametrize("name", ["bert", "xlm_roberta"])
def test_documents_are_ranked_by_the_scores_of_their_pairs_with_the_query(name, request):
    http, model = request.getfixturevalue(name)
    body = {"query": QUERY, "documents": DOCUMENTS}
    answer = http.post("/v1/rerank", json=body).json()
    expected = [model.score(QUERY, document) for document in DOCUMENTS]
    assert np.diff(np.sort(expected)).min() > 10 * TOLERANCE
    order = np.argsort(-np.array(expected)).tolist()
    assert [each["index"] for each in answer["results"]] == order
    found = [each["relevance_score"] for each in answer["results"]]
    np.testing.assert_allclose(found, [expected[index] for index in order], atol=TOLERANCE)
    lengths = [len(model.tokenizer(QUERY, document).input_ids) for document in DOCUMENTS]
    assert answer["usage"]["prompt_tokens"] == sum(lengths)


@pytest.mark.parametrize("name", ["bert", "xlm_roberta"])
def test_pairs_are_scored_in_the_order_of_their_texts(name, request):
    http, model = request.getfixturevalue(name)
    pairs = [(QUERY, "deep"), ("deep", QUERY)]
    first, second = zip(*pairs, strict=True)
    answer = http.post("/v1/score", json={"text_1": first, "text_2": second}).json()
    expected = [model.score(*pair) for pair in pairs]
    np.testing.assert_allclose([each["score"] for each in answer["data"]], expected, atol=TOLERANCE)
    assert abs(expected[0] - expected[1]) > 100 * TOLERANCE


def test_a_separator_that_a_user_writes_does_not_part_the_texts_of_a_pair(bert):
    http, model = bert
    pair = "sea [SEP] sand", "the [SEP] sea"
    (found,) = http.post("/v1/score", json={"text_1": pair[0], "text_2": pair[1]}).json()["data"]
    np.testing.assert_allclose(found["score"], model.score(*pair), atol=TOLERANCE)
    joined = "sea [SEP] sand [SEP] the sea"
    (alone,) = http.post("/classify", json={"text": [joined]}).json()
    np.testing.assert_allclose(alone["embedding"], model(joined).logits[0], atol=10 * TOLERANCE)


@pytest.mark.parametrize("name", ["bert", "xlm_roberta"])
def test_a_pair_past_the_context_is_a_400_that_says_by_how_much(name, request):
    http, model = request.getfixturevalue(name)
    count = len(model.tokenizer(QUERY, LONG).input_ids)
    error = refused(http, "/v1/rerank", query=QUERY, documents=["deep", LONG])
    assert f"is 64 tokens, but the prompt has {count}. Use {count - 64} fewer" in error["message"]
    assert http.post("/v1/rerank", json={"query": QUERY, "documents": ["deep"]}).is_success


def test_an_encoder_embeds_text_as_its_first_tokens_direction(tmp_path):
    sizes = encoders.SIZES | {"vocab_size": save_word_pieces(tmp_path), "pad_token_id": 0}
    model = Model(tmp_path, transformers.BertModel, transformers.BertConfig(**sizes))
    texts = [QUERY, "sea [SEP] sand", "a"]
    with served(tmp_path) as http:
        data = http.post("/v1/embeddings", json={"input": texts}).json()["data"]
        ranked = http.post("/v1/rerank", json={"query": QUERY, "documents": texts}).json()
    for text, found in zip(texts, data, strict=True):
        state = model(text).last_hidden_state[0, 0].numpy()
        expected = state / np.linalg.norm(state)
        np.testing.assert_allclose(found["embedding"], expected, atol=TOLERANCE)
    assert ranked["results"][0]["index"] == 0
