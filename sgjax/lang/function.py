"""Functions that are programs: `@function`, and how they are run."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sgjax.errors import InvalidProgram
from sgjax.lang.backends.contract import AnyBackend, Backend
from sgjax.lang.defaults import backend_or_default
from sgjax.lang.executor import Executor
from sgjax.lang.expressions import check_count, check_stop, said
from sgjax.lang.run import Run, count_threads, run_all
from sgjax.lang.signature import Arguments, Signature
from sgjax.lang.state import ProgramState
from sgjax.lang.switches import global_config
from sgjax.lang.tracing import Argument, same_arguments, traced_prefix

_SHORTEST_PREFIX = 64
"""Characters: less is not worth a call of its own."""


class Function:
    """A program: a Python function whose first argument is the state, `s`.

    @function
    def capital(s, country):
        s += f"The capital of {country} is" + gen("capital", max_tokens=8)

    print(capital.run(country="France")["capital"])
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        num_api_spec_tokens: int | None = None,
        bound: Mapping[str, Any] | None = None,
    ):
        """`num_api_spec_tokens`: how many tokens a call of an API may guess ahead, for the calls
        that follow it."""
        functools.update_wrapper(self, function)
        self.func = function
        self.num_api_spec_tokens = num_api_spec_tokens
        self.bind_arguments = dict(bound or {})
        self.__name__ = getattr(function, "__name__", "program")
        self._signature = Signature(function)
        self.arg_names = self._signature.names

    def bind(self, **arguments: Any) -> "Function":
        """The program with some of its arguments given."""
        for name in arguments:
            self._signature.check(name)
        return Function(
            self.func,
            num_api_spec_tokens=self.num_api_spec_tokens,
            bound={**self.bind_arguments, **arguments},
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs it; within another program, with that one's state as the first argument, a part of
        that."""
        if args and isinstance(args[0], ProgramState):
            return self.func(*args, **{**self.bind_arguments, **kwargs})
        return self.run(*args, **kwargs)

    def run(
        self,
        *args: Any,
        max_new_tokens: int = 128,
        stop: str | Sequence[str] | None = None,
        stop_token_ids: Sequence[int] | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = -1,
        min_p: float = 0.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        ignore_eos: bool = False,
        return_logprob: bool | None = None,
        logprob_start_len: int | None = None,
        top_logprobs_num: int | None = None,
        return_text_in_logprobs: bool | None = None,
        stream: bool = False,
        backend: AnyBackend | None = None,
        **kwargs: Any,
    ) -> ProgramState:
        """Runs the program. Its calls may still be under way: reading a variable waits.

        Args:
            max_new_tokens: of calls that say nothing else; so are all that follow it up to
                return_text_in_logprobs.
            stream: the program is run in a thread, and text comes piece by piece: `text_iter`.
            backend: instead of the default one.
            args, kwargs: the function's.

        Raises:
            InvalidProgram: there is no backend, or arguments do not fit.
        """
        sampling = _sampling(locals())
        arguments = self._signature.arguments(self.bind_arguments, args, kwargs)
        run = self._begin(backend_or_default(backend), sampling, arguments, is_streamed=stream)
        if stream:
            run.go_in_thread()
        else:
            run.go()
        return run.state

    def run_batch(
        self,
        batch_kwargs: Sequence[Mapping[str, Any]] | Sequence[Sequence[Any]],
        *,
        max_new_tokens: int = 128,
        stop: str | Sequence[str] | None = None,
        stop_token_ids: Sequence[int] | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = -1,
        min_p: float = 0.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        ignore_eos: bool = False,
        return_logprob: bool | None = None,
        logprob_start_len: int | None = None,
        top_logprobs_num: int | None = None,
        return_text_in_logprobs: bool | None = None,
        backend: AnyBackend | None = None,
        num_threads: int | str = "auto",
        progress_bar: bool = False,
    ) -> list[ProgramState]:
        """Runs the program for each item, many at a time, and waits for all of them.

        What all of them begin with is computed once before. An item that fails fails alone: its
        state's `error()` says why, and reading from it raises that.

        Args:
            batch_kwargs: the function's arguments for each item: dicts, or lists in their order.
            num_threads: how many are run at a time; "auto": 96, or 16 a core.
            progress_bar: shows how many are done.
        """
        sampling = _sampling(locals())
        if not isinstance(batch_kwargs, Sequence) or isinstance(batch_kwargs, str):
            raise InvalidProgram(
                "run_batch takes a list with the arguments of each item, not "
                f"{type(batch_kwargs).__name__}."
            )
        items = [self._item(each) for each in batch_kwargs]
        if not items:
            return []
        count = count_threads(num_threads, len(items))
        found = backend_or_default(backend)
        if len(items) > 1 and global_config.enable_precache_with_tracing:
            self._cache_prefix(found, items)
        runs = [self._begin(found, sampling, item) for item in items]
        run_all(runs, count, has_bar=progress_bar)
        return [run.state for run in runs]

    def trace(self, *, backend: AnyBackend | None = None, **kwargs: Any) -> str:
        """The text that it begins with, before it looks at an argument that is not given here."""
        found = backend_or_default(backend)
        free = {name: Argument(name) for name in self._signature.required}
        arguments = self._signature.arrange({**free, **self.bind_arguments, **kwargs})
        return traced_prefix(self._signature.call, arguments, found.chat_template)

    def cache(self, backend: AnyBackend | None = None) -> str:
        """Computes what all runs begin with, so that they find it in the prefix cache."""
        found = backend_or_default(backend)
        prefix = self.trace(backend=found)
        if prefix:
            found.loop.run(found.cache_prefix(prefix))
        return prefix

    def _item(self, item: Any) -> Arguments:
        if isinstance(item, Mapping):
            return self._signature.arguments(self.bind_arguments, (), item)
        if isinstance(item, Sequence) and not isinstance(item, str):
            return self._signature.arguments(self.bind_arguments, item, {})
        raise InvalidProgram(
            f"An item of a batch must be a dict or a list of arguments, not {type(item).__name__}."
        )

    def _begin(
        self,
        backend: Backend,
        sampling: Mapping[str, Any],
        arguments: Arguments,
        *,
        is_streamed: bool = False,
    ) -> Run:
        if self.num_api_spec_tokens is not None:
            if is_streamed:
                raise InvalidProgram(
                    "num_api_spec_tokens cannot be streamed. Leave one of them out."
                )
            backend = backend.speculating(self.num_api_spec_tokens)
        executor = Executor(backend, sampling, is_streamed=is_streamed)
        return Run(self._signature.call, executor, arguments)

    def _cache_prefix(self, backend: Backend, items: Sequence[Arguments]) -> None:
        """Saves time and nothing else: what goes wrong here goes wrong in the items, too."""
        prefix = traced_prefix(self._signature.call, same_arguments(items), backend.chat_template)
        if len(prefix) >= _SHORTEST_PREFIX:
            with contextlib.suppress(Exception):
                backend.loop.run(backend.cache_prefix(prefix))


_SAMPLING = (
    "max_new_tokens",
    "stop",
    "stop_token_ids",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "ignore_eos",
    "return_logprob",
    "logprob_start_len",
    "top_logprobs_num",
    "return_text_in_logprobs",
)


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling arguments of a run that say something."""
    check_count("max_new_tokens", given["max_new_tokens"])
    check_stop(given["stop"])
    return said({name: given[name] for name in _SAMPLING})
