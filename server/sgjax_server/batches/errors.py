"""What can be wrong with stored objects."""

from sgjax.errors import RequestError, SgjaxError


class NoSuchObject(RequestError):
    """An id under which nothing is kept (any more)."""

    status = 404
    code = "not_found"

    def __init__(self, kind: str, given: str, *, param: str):
        super().__init__(f"There is no {kind} {given[:80]!r} here.", param=param)


class StorageFull(RequestError):
    """A bound of what is kept was reached. Whoever sends may make room."""

    code = "storage_full"


class FileTooLarge(RequestError):
    """A file that is larger than any may be."""

    status = 413
    code = "too_large"


class StorageFailed(SgjaxError):
    """The disk did not take what was written, or did not give it back."""

    status = 507
    type = "server_error"
    code = "storage_failed"

    def __init__(self, error: OSError):
        super().__init__(
            f"The server's file storage failed: {error.strerror or error}. Requests that need no "
            "files are not affected."
        )
