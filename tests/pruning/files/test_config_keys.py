"""Counts and numbers of config.json: the largest of each kind is taken, one more is not."""

import re

import pytest

from pruning.files.config_keys import EPSILON_MAX, MOST, count, epsilon
from rtl.params import InputError

BOUNDS = {
    "hidden": 65_536, "layers": 1024, "heads": 65_536, "intermediate": 65_536, "positions": 1_048_576,
    "vocabulary": 16_777_216, "image": 4096, "patch": 4096, "channels": 256,
}  # fmt: skip


def test_every_kind_has_a_bound() -> None:
    assert BOUNDS.keys() == MOST.keys()


@pytest.mark.parametrize("name", BOUNDS)
def test_counts(name: str) -> None:
    most = BOUNDS[name]
    assert [count("c.json", name, "key", value) for value in (1, most)] == [1, most]
    with pytest.raises(InputError, match=f"^{re.escape(f'c.json: key is {most + 1}, must be at most {most}')}$"):
        count("c.json", name, "key", most + 1)
    for value in (0, -1, True, 1.0, "1", None):
        with pytest.raises(InputError, match=r"^c\.json: key is .*, must be an integer of at least 1$"):
            count("c.json", name, "key", value)


def test_epsilons() -> None:
    assert [epsilon("c.json", "eps", value) for value in (0, 1e-12, EPSILON_MAX)] == [0.0, 1e-12, EPSILON_MAX]
    for value in (-1e-12, 2 * EPSILON_MAX, float("nan"), float("inf"), "1e-5", True, None):
        with pytest.raises(InputError, match=r"^c\.json: eps is .*, must be a number such as 1e-12, 0 to "):
            epsilon("c.json", "eps", value)
