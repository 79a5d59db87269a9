"""How numba kernels are compiled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def forget_stale(folder: Path) -> None:
    """Delete the machine code beside the sources of `folder` that is older than any of them.

    numba looks at the file of the kernel alone, and not at the loops in other files that it is made of.
    """
    newest = max(source.stat().st_mtime_ns for source in folder.glob("*.py"))
    for kept in (folder / "__pycache__").glob("*.nb[ic]"):
        try:
            if kept.stat().st_mtime_ns < newest:
                kept.unlink()
        except OSError:  # another process was faster, or nothing may be deleted here
            continue


forget_stale(Path(__file__).parent)


def compiled(function: Callable[..., Any], *, reorder: bool = False) -> Callable[..., Any]:
    """Compile a kernel when it is first called, and keep the machine code beside the source for the next process.

    `reorder` allows sums to be taken in another order, without which a loop that sums numbers cannot be vectorised.
    """

    def compile_it(cache: bool) -> Callable[..., Any]:
        fast = {"contract", "nsz"} | ({"reassoc"} if reorder else set())
        kernel: Callable[..., Any] = numba.njit(
            function, cache=cache, nogil=True, error_model="numpy", fastmath=fast
        )
        return kernel

    try:
        return compile_it(cache=True)
    except RuntimeError:
        # Neither the installation nor the home directory can be written: each process compiles for itself.
        return compile_it(cache=False)
