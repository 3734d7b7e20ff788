"""What the language does by itself and may be told not to do."""

import contextlib
from collections.abc import Iterator


class GlobalConfig:
    """SGLang's `global_config`, as far as there is something to switch."""

    def __init__(self) -> None:
        self.enable_precache_with_tracing = True
        """A batch's common prefix is computed before the batch."""


global_config = GlobalConfig()


@contextlib.contextmanager
def precaching(is_on: bool) -> Iterator[None]:
    """For a while."""
    before = global_config.enable_precache_with_tracing
    global_config.enable_precache_with_tracing = is_on
    try:
        yield
    finally:
        global_config.enable_precache_with_tracing = before
