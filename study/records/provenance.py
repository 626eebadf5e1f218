"""Collects a run's provenance: code, versions and hardware; never environment variables."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from trainables.fused.precision import bf16_instructions

_PROJECT = Path(__file__).resolve().parents[2]


def git_state() -> tuple[str | None, bool | None]:
    """The project's commit and whether the tree differs from it; None, None outside a repository."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no")
    return commit, None if status is None else bool(status)


def command_line() -> str:
    """The command line of this process, without the machine's folders."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    program = f"python -m {spec.name}" if spec is not None else Path(sys.argv[0]).name
    return shlex.join([*program.split(), *sys.argv[1:]])


def provenance() -> dict[str, Any]:
    """The provenance columns of the ``runs`` table."""
    commit, dirty = git_state()
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "ray", "optuna", "pyarrow")},
        "platform": platform.platform(),
        "cpu_model": _cpu_model(),
        "bf16_instructions": bf16_instructions(),
        "num_cpus": os.cpu_count(),
        "num_gpus": gpus,
        "gpu_model": torch.cuda.get_device_name(0) if gpus else None,
        "memory_bytes": _memory_bytes(),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=_PROJECT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None
