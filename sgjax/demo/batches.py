"""Packs documents into rows of tokens, in worker processes, ahead of the training step."""

import dataclasses
import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import numpy as np
from tokenizers import Tokenizer

from sgjax.demo.corpus import documents
from sgjax.demo.tokenizer import Encoded, encode


@dataclasses.dataclass(frozen=True)
class BatchShape:
    num_rows: int
    length: int
    most_exchanges: int
    """The longest conversation that is drawn for this shape."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows of packed documents; `segments` numbers the documents of a row from 1, 0 is padding."""

    tokens: np.ndarray
    segments: np.ndarray
    weights: np.ndarray


def pack(shape: BatchShape, encoded: Iterator[Encoded]) -> Batch:
    """Fills the rows: each document goes to the first of a few open rows that has room for it."""
    size = (shape.num_rows, shape.length)
    batch = Batch(np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.float32))
    used = np.zeros(shape.num_rows, int)
    opened = deque(range(min(12, shape.num_rows)))
    unopened = deque(range(len(opened), shape.num_rows))
    while opened:
        document = next(encoded)
        n = min(len(document.tokens), shape.length)
        row = next((r for r in opened if used[r] + n <= shape.length), None)
        if row is None:
            opened.remove(max(opened, key=lambda r: used[r]))
            if unopened:
                opened.append(unopened.popleft())
            continue
        at = slice(used[row], used[row] + n)
        batch.tokens[row, at] = document.tokens[:n]
        batch.weights[row, at] = document.weights[:n]
        batch.segments[row, at] = batch.segments[row].max() + 1
        used[row] += n
    return batch


def make_batch(tokenizer_json: str, shape: BatchShape, seed: str) -> Batch:
    """The batch of that seed."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = Tokenizer.from_str(tokenizer_json)
    stream = documents(seed, shape.most_exchanges)
    chunks = iter(lambda: list(itertools.islice(stream, 128)), [])
    return pack(shape, (e for chunk in chunks for e in encode(tokenizer, chunk)))


def batches(
    tokenizer: Tokenizer, shapes: Iterator[BatchShape], seed: int, num_workers: int
) -> Generator[Batch, None, None]:
    """Batch `i` has the `i`-th shape and its own seed, so the order of the workers is no matter."""
    text = tokenizer.to_str()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        waiting: deque[Future[Batch]] = deque()
        for i, shape in enumerate(shapes):
            waiting.append(pool.submit(make_batch, text, shape, f"{seed} batch {i}"))
            if len(waiting) > 3 * num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
