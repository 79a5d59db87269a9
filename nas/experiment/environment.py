"""What a run ran on."""

import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nas.experiment.context import Context


def environment(context: Context) -> dict[str, Any]:
    """Return versions, machine, threads, device, seed and commit, as `environment.json` holds them."""
    packages = ("torch", "optuna", "numpy", "scipy", "polars", "safetensors", "plotly", "pydantic")
    return {
        "nas": version("nas-recsys"),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": str(context.device),
        "gpu": torch.cuda.get_device_name(0) if context.device.type == "cuda" else None,
        "seed": context.experiment.search.seed,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _commit() -> str | None:
    """The commit of the checkout that nas runs from, None for an installed one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
