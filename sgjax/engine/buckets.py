"""The sizes that steps are padded to: a program each, a closed set known at the start."""

import dataclasses
from collections.abc import Iterable

from sgjax.engine.batch import Batch


@dataclasses.dataclass(frozen=True, order=True)
class Bucket:
    """A step's padded sizes: T tokens, S rows, R wanted logits.

    In a bucket of `only_decode` every row has one token: T, S and R are equal. In one of them that
    is `shared` the prefixes that rows share are read once, which a batch must be arranged for.
    """

    num_tokens: int
    num_rows: int
    num_logits: int
    only_decode: bool = False
    shared: bool = False

    def __str__(self) -> str:
        if self.only_decode:
            return f"{self.num_rows} decoding" + " with shared prefixes" * self.shared
        return f"{self.num_tokens} tokens of {self.num_rows}, {self.num_logits} logits"

    def num_updates(self, page_size: int) -> int:
        """Entries of page tables that fit: a page a row, and the pages of all tokens."""
        return self.num_rows + -(-self.num_tokens // page_size)

    def holds(self, batch: Batch, num_tokens: int, num_logits: int) -> bool:
        num_rows = len(batch.requests)
        if self.only_decode and num_rows != num_tokens:
            return False
        if self.shared and batch.shared is None:
            return False
        return (
            num_tokens <= self.num_tokens
            and num_rows <= self.num_rows
            and num_logits <= self.num_logits
        )


@dataclasses.dataclass(frozen=True)
class BucketSizes:
    """The sizes that a kind of machine pads to, before they are cut to an engine's limits."""

    decode_rows: tuple[int, ...]
    mixed_tokens: tuple[int, ...]
    mixed_rows: tuple[int, ...]
    num_prompt_logits: int
    """Logits of a step in which somebody wants prompt logprobs."""
    max_running: int
    """Requests computed at a time, where nobody says how many: sizes past it are for more."""
    shared_from: int | None = None
    """From so many rows on, those of `decode_rows` come for shared prefixes too; None: none do."""

    def up_to(self, num_tokens: int) -> "BucketSizes":
        """The same with larger mixed steps, each twice as large as the last: for texts that no step
        may part."""
        sizes = list(self.mixed_tokens)
        while 2 * sizes[-1] < num_tokens:
            sizes.append(2 * sizes[-1])
        return dataclasses.replace(self, mixed_tokens=tuple(sizes))


CPU = BucketSizes(
    decode_rows=(1, 8, 32),
    mixed_tokens=(32, 64, 128, 256),
    mixed_rows=(32,),
    num_prompt_logits=128,
    max_running=32,
)
ACCELERATOR = BucketSizes(
    # Not 1 and 2: they take the same time.
    decode_rows=(2, 4, 8, 16, 32, 64, 128, 192, 256, 384, 512, 768, 1024),
    mixed_tokens=(128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192),
    mixed_rows=(64, 1024),
    num_prompt_logits=1024,
    max_running=512,
    shared_from=32,
)


def make_buckets(sizes: BucketSizes, *, max_rows: int, max_tokens: int) -> list[Bucket]:
    """All buckets of an engine, smallest first; the last holds every step that may be planned.

    A mixed step has at most as many rows as tokens, so sizes past a limit are cut to it. The last
    has room for prompt logprobs: beside that many tokens, some more logits cost little.
    """
    max_tokens = max(max_tokens, max_rows)
    rows = _cut(sizes.decode_rows, max_rows)
    buckets = {Bucket(n, n, n, only_decode=True) for n in rows}
    if sizes.shared_from is not None:
        shared = [n for n in rows if n >= sizes.shared_from]
        buckets |= {Bucket(n, n, n, only_decode=True, shared=True) for n in shared}
    for tokens in _cut(sizes.mixed_tokens, max_tokens):
        for mixed_rows in _cut(sizes.mixed_rows, min(max_rows, tokens)):
            buckets.add(Bucket(tokens, mixed_rows, mixed_rows))
    num_logits = max(min(sizes.num_prompt_logits, max_tokens), max_rows)
    buckets.discard(Bucket(max_tokens, max_rows, max_rows))
    buckets.add(Bucket(max_tokens, max_rows, num_logits))
    return sorted(buckets, key=_cost)


def min_shared_rows(buckets: Iterable[Bucket]) -> int | None:
    """How few rows are padded to a bucket that comes for shared prefixes too; None: none does."""
    decode = [bucket for bucket in buckets if bucket.only_decode]
    first = min((bucket.num_rows for bucket in decode if bucket.shared), default=None)
    if first is None:
        return None
    return 1 + max((bucket.num_rows for bucket in decode if bucket.num_rows < first), default=0)


def pick(buckets: Iterable[Bucket], batch: Batch) -> Bucket:
    """The cheapest of `buckets` (sorted by make_buckets) that holds the batch."""
    num_tokens, num_logits = batch.num_tokens, batch.num_logits
    for bucket in buckets:
        if bucket.holds(batch, num_tokens, num_logits):
            return bucket
    raise AssertionError(
        f"no bucket holds a step of {num_tokens} tokens, {len(batch.requests)} rows and "
        f"{num_logits} logits: the scheduler's limits and the buckets disagree"
    )


def _cut(sizes: tuple[int, ...], limit: int) -> list[int]:
    return [size for size in sizes if size < limit] + [limit]


def _cost(bucket: Bucket) -> tuple[int, int, int, bool, bool]:
    """For steps that may run in both, the bucket for shared prefixes comes first."""
    sizes = bucket.num_tokens, bucket.num_rows, bucket.num_logits
    return *sizes, not bucket.only_decode, not bucket.shared
