"""A pytest plugin for ``scripts.mutants``: writes down how each test ended, and when to stop.

That is at the first failed assertion or, where the environment says so, at the first test that fails for any reason.
"""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import TypedDict

import pytest

FILE = "NMGEN_OUTCOMES"  # environment variable: where the JSON goes
ANY_FAILURE = "NMGEN_ANY_FAILURE"  # environment variable: set where any failed test is the end


class Outcome(TypedDict):
    test: str
    outcome: str  # as pytest calls it
    assertion: bool  # it is a failed assertion, and nothing else
    message: str  # type and first line of the exception


_outcomes: list[Outcome] = []


def _only_assertions(error: BaseException) -> bool:
    """True where all that was raised is AssertionError: hypothesis groups the distinct failures that it found."""
    if isinstance(error, BaseExceptionGroup):
        return all(_only_assertions(inner) for inner in error.exceptions)
    return isinstance(error, AssertionError)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or report.failed:
        error = call.excinfo.value if call.excinfo is not None else None
        message = f"{type(error).__name__}: {error}".strip() if error is not None else ""
        assertion = report.when == "call" and error is not None and _only_assertions(error)
        _outcomes.append(
            {
                "test": item.nodeid,
                "outcome": report.outcome,
                "assertion": assertion,
                "message": message.splitlines()[0] if message else "",
            }
        )
        if assertion or (report.failed and ANY_FAILURE in os.environ):
            item.session.shouldstop = "a test failed: that is all we want to know"
    return report


def pytest_sessionfinish() -> None:
    if FILE in os.environ:
        Path(os.environ[FILE]).write_text(json.dumps(_outcomes))
