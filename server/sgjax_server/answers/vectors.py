"""Answers made of vectors: embeddings, and scores."""

from typing import Literal

from sgjax_server.answers.form import Answer


class VectorUsage(Answer):
    prompt_tokens: int
    total_tokens: int


class Embedding(Answer):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    """In base64: float32, little endian."""


class Embeddings(Answer):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: VectorUsage


class VectorInfo(Answer):
    id: str
    prompt_tokens: int
    cached_tokens: int


class Encoded(Answer):
    embedding: list[float]
    meta_info: VectorInfo
    index: int


class Classified(Answer):
    index: int
    label: str
    """The likeliest."""
    probs: list[float]
    num_classes: int


class Classification(Answer):
    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Classified]
    usage: VectorUsage


class Score(Answer):
    index: int
    object: Literal["score"]
    score: float


class Scores(Answer):
    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Score]
    usage: VectorUsage


class LabelScores(Answer):
    """SGLang's form: of each item, of each label."""

    scores: list[list[float]]
    model: str
    usage: VectorUsage
    object: Literal["scoring"]


class RankedDocument(Answer):
    text: str


class Ranked(Answer):
    index: int
    relevance_score: float
    document: RankedDocument | None = None


class Ranking(Answer):
    id: str
    model: str
    results: list[Ranked]
    """The most relevant first."""
    usage: VectorUsage
