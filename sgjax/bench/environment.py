"""What figures were measured on."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import sgjax

_PACKAGES = ("jax", "jaxlib", "jax-cuda13-plugin", "jax-triton", "triton", "libtpu")


def describe_machine() -> dict[str, Any]:
    """Versions, the commit (None outside a repository), and this machine's CPU."""
    versions = {"sgjax": sgjax.__version__, "python": platform.python_version()}
    versions |= {name: version for name in _PACKAGES if (version := _version(name))}
    return {
        "commit": _commit(),
        "versions": versions,
        "platform": platform.platform(),
        "cpu_cores": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the repository that sgjax runs from, with "+" where files were changed."""
    root = Path(sgjax.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *args: str) -> str:
    line = ["git", "-C", str(root), *args]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
