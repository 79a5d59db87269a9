"""How many processes a run works with, and with how many threads each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits

from nas.errors import UserError
from nas.experiment.context import Context
from nas.model.training import epoch_cost

# Edges of an epoch below which a run ends before a process more has begun, and threads wait for one another longer than
# they work. ML-100K has 600,000.
_SMALL = 100_000
# Edges of an epoch from which on processes contend for memory where threads do not. On two cores, two epochs of LightGCN
# take two threads one after the other 2 x .91 s on Gowalla (26 million), two processes of one thread 2.5 s; on ML-1M
# (5.6 million) candidates and LightGCN take 23.3 s twice against 40.8 s.
_WIDE = 12_000_000
# Threads of a process on such data, at most.
_TOGETHER = 4
# Of a process: torch and the data, and the scores of all judged users by several branches. Gowalla's takes 6 GB.
_BASE, _SCORES_HELD = 2**30, 8
# What is shared out at a time is about 40 candidates.
_MOST = 16


@dataclass(frozen=True, slots=True)
class Crew:
    """Who works on a run on this machine.

    Attributes:
        processes: how many, the one that searches included.
        threads: of each. Equal threads, equal results.
    """

    processes: int
    threads: int


def check_workers(asked: int | None) -> None:
    """Raise UserError if no such number of processes can share the work."""
    if asked is not None and (type(asked) is not int or asked < 1):
        raise UserError(f"workers: expected a whole number of at least 1, but got {asked!r}")


def crew_of(context: Context, asked: int | None) -> Crew:
    """Return who shares the work: as many processes as asked for, or one a core as far as that pays and memory reaches.

    Two threads train a network of ML-100K 1.2 to 1.4 times as fast as one does; two processes train two at once. From
    several times ML-1M's size on a process has several threads instead. One process alone works where the graph is
    small, with one thread; on a GPU, and where a time is among the objectives, with all.
    """
    begun, cores = context.threads, torch.get_num_threads()
    if asked is not None:
        return Crew(asked, begun or max(1, cores // asked))
    experiment, data = context.experiment, context.interactions
    cost = epoch_cost(data.n_users, data.n_items, len(data))
    if context.device.type != "cpu" or experiment.search.timed:
        return Crew(1, begun or cores)
    if cost < _SMALL:
        return Crew(1, begun or 1)
    threads = begun or (min(cores, _TOGETHER) if cost > _WIDE else 1)
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    judged = min(experiment.search.users, data.n_users)
    each = _BASE + _SCORES_HELD * 4 * judged * data.n_items
    processes = max(1, min(cores // threads, memory // each, _MOST))
    return Crew(processes, begun or cores // processes)


@contextmanager
def with_threads(number: int | None) -> Iterator[None]:
    """Let torch, our kernels and BLAS use so many threads within the block; None leaves them alone."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        with threadpool_limits(number, "blas"):
            yield
    finally:
        torch.set_num_threads(before)
