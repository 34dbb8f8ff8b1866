"""What a benchmark ran on: processor, threads, operating system and versions, without host names."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["describe_environment", "environment_line", "package_versions"]

DEFAULT_PACKAGES = ("torch", "transformers", "numpy")


def describe_environment(packages: Sequence[str] = DEFAULT_PACKAGES) -> dict[str, Any]:
    """Describe the machine and the software as JSON.

    Args:
        packages: Distributions whose versions matter beside Python's.

    Returns:
        ``cpu`` (model name), ``cores`` (that this process may use), ``threads`` (of torch, else None),
        ``instructions`` (best instruction set that torch uses, else None), ``memory_gib``, ``gpu`` (name of
        the CUDA device, else None), ``os``, ``machine`` and ``versions`` by name.
    """
    threads, instructions, gpu = _torch_settings()
    return {
        "cpu": _cpu_model(),
        "cores": _usable_cores(),
        "threads": threads,
        "instructions": instructions,
        "memory_gib": _memory_gib(),
        "gpu": gpu,
        "os": _os_name(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **package_versions(packages)},
    }


def environment_line(environment: dict[str, Any] | None = None) -> str:
    """One line for the head of a table, made from ``describe_environment`` (called if left out)."""
    known = describe_environment() if environment is None else environment
    parts = [str(known["cpu"]), f"{known['cores']} cores"]
    if known["threads"] is not None:
        parts.append(f"{known['threads']} threads")
    if known["instructions"] is not None:
        parts.append(str(known["instructions"]))
    if known["memory_gib"] is not None:
        parts.append(f"{known['memory_gib']} GiB")
    if known.get("gpu") is not None:
        parts.append(str(known["gpu"]))
    parts.append(f"{known['os']} ({known['machine']})")
    parts.extend(f"{name} {version}" for name, version in known["versions"].items())
    return ", ".join(parts)


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions by distribution name; packages that are not installed are left out."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine() or "unknown processor"


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, OSError, ValueError):
        return None


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _torch_settings() -> tuple[int | None, str | None, str | None]:
    try:
        import torch
    except ImportError:
        return None, None, None
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return torch.get_num_threads(), str(torch.backends.cpu.get_cpu_capability()), gpu


if __name__ == "__main__":
    print(environment_line())
