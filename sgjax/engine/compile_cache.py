"""What is kept of programs on the disk: what makes the second start quick."""

import os
from pathlib import Path

import jax


def use_compile_cache(folder: str | None) -> Path | None:
    """Keeps compiled programs in `folder`; None: where JAX was told to, or the user's cache folder;
    "": nowhere.

    Returns where traced programs can be kept (`traces.py`): inside, if the folder is ours alone.
    """
    if folder == "":
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    jaxs_own = jax.config.values["jax_compilation_cache_dir"] if folder is None else None
    folder = folder or jaxs_own or str(_user_folder())
    jax.config.update("jax_compilation_cache_dir", folder)
    # By default JAX keeps only what took a second to compile, and reads that as worth a file.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    is_local = "://" not in folder
    return Path(folder) / "traced" if is_local and not jaxs_own else None


def _user_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sgjax" / "programs"
