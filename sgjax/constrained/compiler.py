"""Compiles grammars beside whatever else goes on, and keeps the compiled ones for the next."""

import functools
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from sgjax.constrained.matcher import Matcher
from sgjax.errors import InvalidRequest

NUM_THREADS = 2
MAX_BYTES = 64 << 20
"""What is kept, as far as it can be estimated."""
_BYTES_EACH, _BYTES_A_CHARACTER = 32 << 10, 128
"""The memory of a compiled JSON schema: 100 kB where its grammar has 500 characters."""

LIMITS = {
    # llguidance's own, but for the first, which bounds the time to compile: 50,000 take 1 ms.
    "initial_lexer_fuel": 5_000_000,
    "max_items_in_row": 2000,
    "step_lexer_fuel": 200_000,
    "step_max_items": 50_000,
    "max_lexer_states": 250_000,
    "max_grammar_size": 500_000,
    "verbose_errors": False,
}


class GrammarCompiler:
    """Turns llguidance grammars into matchers, for one tokenizer.

    Args:
        read_tokenizer: gives the text of a tokenizer.json; called in a thread.
        vocab_size: of the model's logits; ids that the tokenizer does not have are never allowed.
        eos_ids: allowed where the output may end.
    """

    def __init__(
        self,
        read_tokenizer: Callable[[], str],
        vocab_size: int,
        eos_ids: Sequence[int],
        *,
        max_bytes: int = MAX_BYTES,
    ):
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="sgjax-grammar")
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Any] = OrderedDict()  # text -> a fresh LLMatcher
        self._num_bytes = 0
        self._lock = threading.Lock()
        self._tokenizer_of = functools.partial(
            _tokenizer, read_tokenizer, vocab_size, list(eos_ids)
        )
        self._tokenizer: Future[Any] | None = None

    def prepare(self) -> Future[Any]:
        """Begins to read the tokenizer, which takes a second where it is large, unless that has
        begun."""
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = self._threads.submit(self._tokenizer_of)
            return self._tokenizer

    def compile(self, grammar: str, after: Sequence[int] = ()) -> Future[Matcher]:
        """A matcher at the beginning of the grammar, or, with `after`, behind these tokens.

        The future raises InvalidRequest for what llguidance does not take.
        """
        self.prepare()  # in the line of the threads, before what waits for it
        return self._threads.submit(self._compile, grammar, after)

    def close(self) -> None:
        """Waits for what has begun, and gives up the rest."""
        self._threads.shutdown(cancel_futures=True)

    def _compile(self, grammar: str, after: Sequence[int]) -> Matcher:
        with self._lock:
            fresh = self._kept.get(grammar)
            if fresh is not None:
                self._kept.move_to_end(grammar)
        if fresh is None:
            fresh = self._new(grammar)
            self._keep(grammar, fresh)
        name = hashlib.blake2b(grammar.encode(), digest_size=16).digest()
        return Matcher(fresh.deep_copy(), name, after)

    def _new(self, grammar: str) -> Any:
        from llguidance import LLMatcher, LLParserLimits

        try:
            tokenizer = self.prepare().result()
        except Exception as error:  # the library raises nothing narrower
            raise InvalidRequest(
                f"This model's tokenizer cannot be used with grammars: {error}."
            ) from error
        state = LLMatcher(tokenizer, grammar, log_level=0, limits=LLParserLimits(**LIMITS))
        if state.is_error():
            raise InvalidRequest(
                f"The grammar cannot be used: {_first_line(state.get_error())}. Simplify it."
            )
        return state

    def _keep(self, grammar: str, fresh: Any) -> None:
        size = _size(grammar)
        if size > self._max_bytes:
            return
        with self._lock:
            if grammar in self._kept:
                return
            self._kept[grammar] = fresh
            self._num_bytes += size
            while self._num_bytes > self._max_bytes:
                oldest, _ = self._kept.popitem(last=False)
                self._num_bytes -= _size(oldest)


def _size(grammar: str) -> int:
    return _BYTES_EACH + _BYTES_A_CHARACTER * len(grammar)


def _first_line(error: str) -> str:
    return error.strip().splitlines()[0].rstrip(".") if error.strip() else "unknown fault"


def _tokenizer(read: Callable[[], str], vocab_size: int, eos_ids: list[int]) -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer(read(), n_vocab=vocab_size, eos_token=eos_ids or None)
