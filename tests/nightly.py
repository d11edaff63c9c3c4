"""What `make test` leaves to `make nightly`: of what is tried with many parameters, those that take longest."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def but(values: Iterable[Any], nightly: Container[Any]) -> list[Any]:
    """Parameters for pytest: values, those of `nightly` so marked. Of several names a value is a tuple."""
    return [pytest.param(*_tuple(value), marks=pytest.mark.nightly) if value in nightly else value for value in values]


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
