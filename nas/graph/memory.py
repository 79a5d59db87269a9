"""Memory that is freed stays with the process, for what is asked for next.

A training step makes and drops the same large tensors again and again. By its own rules glibc hands them back to the
system and has them mapped anew, and a page that is touched for the first time costs more than what is computed on it: on
Gowalla's shape with 128 columns, 740,000 pages an epoch, 10.8 s of CPU time where 6.5 s were enough.
"""

import ctypes
import os

# Of glibc's malloc.h; both are thresholds in bytes, an int.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc's malloc keep up to 2 GB of freed memory; return whether it does.

    What the user set in the environment is left alone, and so is any other C library.
    """
    set_by_user = any(name.startswith("MALLOC_") for name in os.environ)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if set_by_user or mallopt is None or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    return all(mallopt(option, _MOST) == 1 for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
