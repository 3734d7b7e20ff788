"""Every error that sgjax raises on purpose.

    SgjaxError
    ├── ConfigError            the options, or a checkpoint: raised before serving
    │   └── CheckpointError    a file of the checkpoint is missing, damaged or misshapen
    ├── RequestError           one request is at fault (HTTP 4xx); all others go on
    │   ├── InvalidRequest     a value of it is not allowed
    │   ├── ContextTooLong     its prompt does not fit the context
    │   ├── NeverFits          it needs more cache than the engine has
    │   ├── ModelNotFound      it names a model that is not served
    │   ├── QueueFull          too many requests wait (429)
    │   └── RequestAborted     somebody asked for its end
    ├── RequestFailed          the engine failed while it computed this request (500)
    ├── Draining               the server is about to stop (503)
    ├── EngineDead             the engine is gone (503)
    ├── BenchmarkFailed        something could not be measured
    ├── InvalidProgram         a program of the language does what it must not
    └── ProgramFailed          a value of a program cannot be had: its cause says why
        └── UnknownVariable    no part of the program makes it

A message says what is, what is allowed, and what to do.
"""


class SgjaxError(Exception):
    """The root of the tree."""


class ConfigError(SgjaxError):
    """Options that cannot be served with."""


class CheckpointError(ConfigError):
    """A checkpoint that cannot be loaded."""


class RequestError(SgjaxError):
    """A request at fault. `code` and `param` are OpenAI's fields, `status` is HTTP's."""

    status = 400
    type = "invalid_request_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None):
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(RequestError):
    """A value that is not allowed."""

    code = "invalid_value"


class ContextTooLong(RequestError):
    """A prompt (with the tokens it asks for) that does not fit the context."""

    code = "context_length_exceeded"

    def __init__(self, num_prompt: int, limit: int, *, num_new: int = 0, param: str | None = None):
        new = f" and {num_new} more are asked for" if num_new else ""
        super().__init__(
            f"This model's maximum context length is {limit} tokens, but the prompt has "
            f"{num_prompt}{new}. Use {num_prompt + num_new - limit} fewer, or serve with a larger "
            "--context-length.",
            param=param,
        )


class NeverFits(RequestError):
    """A request that needs more cache than there is, however long it waits."""

    code = "context_length_exceeded"

    def __init__(self, num_tokens: int, limit: int):
        super().__init__(
            f"The request may need the cache of {num_tokens} tokens, but this server holds at most "
            f"{limit}. Ask for {num_tokens - limit} fewer, or serve with a larger "
            "--max-total-tokens or --mem-fraction-static."
        )


class ModelNotFound(RequestError):
    """A request for a model that is not served here."""

    status = 404
    code = "model_not_found"


class QueueFull(RequestError):
    """Too many requests wait already."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"


class RequestAborted(RequestError):
    """A request that was ended by an abort."""

    code = "aborted"


class _Unavailable(SgjaxError):
    status = 503
    type = "server_error"
    code: str | None = None
    param: str | None = None

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message


class RequestFailed(_Unavailable):
    """The engine failed while it computed this request; others go on."""

    status = 500
    code = "request_failed"


class Draining(_Unavailable):
    """The server finishes what runs and takes nothing new."""

    code = "draining"


class EngineDead(_Unavailable):
    """The engine process or thread has ended."""

    code = "engine_dead"


class BenchmarkFailed(SgjaxError):
    """Something could not be measured: what should have answered did not, or not as asked."""


def revive(kind: str, message: str, param: str | None = None) -> RequestError:
    """Makes a RequestError again behind a wire, from its class's name and its text."""
    kinds = {cls.__name__: cls for cls in RequestError.__subclasses__()}
    error = RequestError.__new__(kinds.get(kind, InvalidRequest))
    RequestError.__init__(error, message, param=param)
    return error


class InvalidProgram(SgjaxError):
    """A program of the language that does what it must not, at the line that does it."""


class ProgramFailed(SgjaxError):
    """A value of a program that cannot be had. Its `__cause__` is the error that came first."""

    def again(self) -> "ProgramFailed":
        """The same, to be raised once more: a traceback grows wherever its error is raised, and
        each who reads the value has his own."""
        same = type(self)(*self.args).with_traceback(self.__traceback__)
        same.__cause__ = self.__cause__
        return same


class UnknownVariable(ProgramFailed, KeyError):
    """A variable that no part of the program makes."""

    def __str__(self) -> str:  # KeyError would quote it
        return str(self.args[0])
