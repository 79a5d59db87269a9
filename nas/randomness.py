"""Named random streams: randomness is an argument, never a global."""

import hashlib

import numpy as np
import torch


def seed_of(seed: int, name: str) -> int:
    """Derive a 63-bit seed for the stream `name` of an experiment's `seed` (>= 0)."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the numpy generator of the stream `name`; equal arguments give equal streams."""
    return np.random.default_rng(seed_of(seed, name))


def torch_stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the torch generator of the stream `name` on `device`."""
    return torch.Generator(device=device).manual_seed(seed_of(seed, name))
