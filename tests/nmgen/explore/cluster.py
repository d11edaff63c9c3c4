"""A Dask cluster of processes of this machine."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cluster(count: int) -> Iterator[object]:
    """Each has a nanny that starts it again."""
    from distributed import LocalCluster

    with warnings.catch_warnings():
        # What Dask leaves open when one of its processes is killed, and what its threads do with loops that end.
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        with LocalCluster(
            n_workers=count, threads_per_worker=2, dashboard_address=None, silence_logs=logging.CRITICAL
        ) as one:
            yield one
