"""How a cocotb testbench failed, as a failure of the test that runs it."""

from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

import pytest


def raise_failure(folder: Path) -> NoReturn:
    """AssertionError where all that failed are assertions of the testbench, else what pytest.fail raises."""
    log = (folder / "run.log").read_text()[-4000:]
    kinds = {}
    if (folder / "results.xml").exists():
        for case in ElementTree.parse(folder / "results.xml").iter("testcase"):
            for failure in (*case.findall("failure"), *case.findall("error")):
                kinds[case.get("name")] = failure.get("type")
    text = f"{', '.join(map(str, kinds)) or 'the simulator'} failed\n{log}"
    if {*kinds.values()} == {"AssertionError"}:
        raise AssertionError(text)
    pytest.fail(text)
