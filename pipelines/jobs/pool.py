"""Tasks over processes: a few at a time, results as they come, in this process where one worker is enough."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def each(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """Apply a function to tasks.

    Parameters
    ----------
    function : callable
        Of a module, so that another process finds it.
    tasks : iterable
        Drawn as workers get free: a million of them need no memory.
    workers : int

    Yields
    ------
    object
        What the function gave, in the order of completion.
    """
    if workers <= 1:
        yield from map(function, tasks)
        return
    # a fork would copy the threads' locks of numba and of the store's client
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        left = iter(tasks)
        waiting: set[Future[Result]] = {pool.submit(function, task) for task in islice(left, 2 * workers)}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                waiting |= {pool.submit(function, task) for task in islice(left, len(done))}
                for future in done:
                    yield future.result()
        finally:
            for future in waiting:
                future.cancel()
