"""What scripts write: `import sgjax as sgl`, then `@sgl.function`, `sgl.gen`, `sgl.user` and so on.

The names and arguments are SGLang's.
"""

from collections.abc import Callable, Sequence
from typing import Any, overload

from sgjax.errors import InvalidProgram
from sgjax.lang import defaults
from sgjax.lang.backends.contract import AnyBackend
from sgjax.lang.choices import ChoicesMethod, token_length_normalized
from sgjax.lang.expressions import (
    Appendable,
    Expression,
    Gen,
    Group,
    Media,
    RoleBegin,
    RoleEnd,
    Select,
    as_expression,
    check_choices,
    check_count,
    check_name,
    check_regex,
    check_source,
    check_stop,
    read_dtype,
    said,
)
from sgjax.lang.function import Function

_CONSTRAINTS = ("regex", "json_schema", "ebnf")


@overload
def function(func: Callable[..., Any], num_api_spec_tokens: int | None = None) -> Function: ...


@overload
def function(
    func: None = None, num_api_spec_tokens: int | None = None
) -> Callable[[Callable[..., Any]], Function]: ...


def function(func: Callable[..., Any] | None = None, num_api_spec_tokens: int | None = None) -> Any:
    """Makes a Python function, whose first argument must be `s`, a program."""
    if func is not None:
        return Function(func, num_api_spec_tokens=num_api_spec_tokens)
    return lambda given: Function(given, num_api_spec_tokens=num_api_spec_tokens)


def gen(
    name: str | None = None,
    max_tokens: int | None = None,
    stop: str | Sequence[str] | None = None,
    stop_token_ids: Sequence[int] | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    ignore_eos: bool | None = None,
    return_logprob: bool | None = None,
    logprob_start_len: int | None = None,
    top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
    dtype: type | str | None = None,
    choices: Sequence[str] | None = None,
    choices_method: ChoicesMethod | None = None,
    regex: str | None = None,
    json_schema: str | dict[str, Any] | None = None,
    ebnf: str | None = None,
) -> Expression:
    """A call of the model, which goes on from all there is so far.

    Args:
        name: the variable that the text becomes the value of.
        max_tokens: what it says nothing of, here and below, is as the program's run says.
        dtype: int, float, str or bool: the text is one's, as Python writes it.
        choices: the text is the likeliest of these, as `select` finds it: nothing is drawn, so that
            sampling parameters do not matter.
        regex: what the text must match; json_schema and ebnf likewise. One of them at most.

    Raises:
        InvalidProgram: arguments do not go together.
    """
    check_name(name)
    if max_tokens is not None:
        check_count("max_tokens", max_tokens)
    bound = {"regex": regex, "json_schema": json_schema, "ebnf": ebnf}
    _check_bound({**bound, "dtype": dtype, "choices": choices})
    if choices is not None:
        return select(name, choices, 0.0, choices_method or token_length_normalized)
    if choices_method is not None:
        raise InvalidProgram("There are no choices that choices_method could compare. Add them.")
    check_regex(regex)
    check_stop(stop)
    params = {
        "max_new_tokens": max_tokens,
        "stop": stop,
        "stop_token_ids": stop_token_ids,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "frequency_penalty": frequency_penalty,
        "presence_penalty": presence_penalty,
        "ignore_eos": ignore_eos,
        **bound,
    }
    logprobs = {
        "return_logprob": return_logprob,
        "logprob_start_len": logprob_start_len,
        "top_logprobs_num": top_logprobs_num,
        "return_text_in_logprobs": return_text_in_logprobs,
    }
    return Gen(name, said(params), read_dtype(dtype), said(logprobs))


def _check_bound(given: dict[str, Any]) -> None:
    said = [name for name, value in given.items() if value is not None]
    if len(said) > 1:
        raise InvalidProgram(
            f"A text can be bound in one way only, but both {said[0]} and {said[1]} are given. "
            "Leave one of them out."
        )


def gen_int(
    name: str | None = None,
    max_tokens: int | None = None,
    stop: str | Sequence[str] | None = None,
    stop_token_ids: Sequence[int] | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    ignore_eos: bool | None = None,
    return_logprob: bool | None = None,
    logprob_start_len: int | None = None,
    top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
) -> Expression:
    """`gen` of a whole number."""
    return gen(**locals(), dtype=int)


def gen_string(
    name: str | None = None,
    max_tokens: int | None = None,
    stop: str | Sequence[str] | None = None,
    stop_token_ids: Sequence[int] | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    ignore_eos: bool | None = None,
    return_logprob: bool | None = None,
    logprob_start_len: int | None = None,
    top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
) -> Expression:
    """`gen` of a text in double quotes."""
    return gen(**locals(), dtype=str)


def select(
    name: str | None = None,
    choices: Sequence[str] | None = None,
    temperature: float = 0.0,
    choices_method: ChoicesMethod = token_length_normalized,
) -> Expression:
    """The likeliest of some texts, by `choices_method`.

    Raises:
        InvalidProgram: there are no choices, or two are the same; or there is a temperature.
    """
    check_name(name)
    if not callable(choices_method):
        raise InvalidProgram(
            "choices_method must be one of sgjax's three, or a function of one's own, not "
            f"{choices_method!r:.80}."
        )
    if not isinstance(temperature, int | float) or temperature > 1e-5:
        raise InvalidProgram(
            f"select takes the likeliest text, so its temperature is 0, not {temperature!r}."
        )
    return Select(name, check_choices(choices), choices_method, temperature)


def image(source: Any) -> Expression:
    """An image: a path, bytes or a PIL image."""
    check_source("image", source)
    return Media("image", source)


def video(source: Any, num_frames: int) -> Expression:
    """So many frames of a video, evenly spread: a path or bytes."""
    check_source("video", source)
    check_count("num_frames", num_frames)
    return Media("video", source, num_frames)


def system(expression: Appendable | None = None) -> Expression:
    """A system message; without an expression its beginning."""
    return _message("system", expression)


def user(expression: Appendable | None = None) -> Expression:
    """A user's message; without an expression its beginning."""
    return _message("user", expression)


def assistant(expression: Appendable | None = None) -> Expression:
    """The model's message; without an expression its beginning."""
    return _message("assistant", expression)


def _message(role: str, expression: Appendable | None) -> Expression:
    if expression is None:
        return RoleBegin(role)
    return Group((RoleBegin(role), as_expression(expression), RoleEnd(role)))


def system_begin() -> Expression:
    """Begins a system message."""
    return RoleBegin("system")


def system_end() -> Expression:
    """Ends a system message."""
    return RoleEnd("system")


def user_begin() -> Expression:
    """Begins a user's message."""
    return RoleBegin("user")


def user_end() -> Expression:
    """Ends a user's message."""
    return RoleEnd("user")


def assistant_begin() -> Expression:
    """Begins the model's message."""
    return RoleBegin("assistant")


def assistant_end() -> Expression:
    """Ends the model's message."""
    return RoleEnd("assistant")


def set_default_backend(backend: AnyBackend) -> None:
    """Programs that name no backend run on this one."""
    defaults.set_default_backend(backend)


def flush_cache(backend: AnyBackend | None = None) -> bool:
    """Empties the backend's prefix cache; False while requests are under way."""
    return defaults.backend_or_default(backend).flush_cache()


def get_server_info(backend: AnyBackend | None = None) -> dict[str, Any]:
    """What the backend says of itself."""
    return defaults.backend_or_default(backend).get_server_info()


get_server_args = get_server_info
