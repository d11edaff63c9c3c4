"""How many threads torch computes with."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, for as long as the block lasts.

    Numbers then do not depend on how many cores there are, and models of this size lose more than they gain by sharing
    busy ones: threads that wait for one another cost minutes where one alone takes seconds.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
