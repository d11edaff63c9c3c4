"""Random configurations that an LFE5U-85F has the multipliers and block RAM for: the cost model is fitted to some."""

import random
from typing import Any

from nmgen.cost.exact import block_rams, multipliers
from rtl.params import Config, InputError
from rtl.sta.params import StaConfig

MULTIPLIERS, BLOCK_RAMS, DEVICE = 156, 208, "LFE5U-85F"
LEAST = 8  # multipliers of an array


def drawn(rng: random.Random, kind: str) -> Config:
    """A configuration. kind : "engine" or "core" """
    while True:
        m, n = rng.choice((4, 8, 8, 16, 16, 32)), rng.choice((1, 2, 2, 3, 4, 8))
        if n > m // 2:
            continue
        rows, cols = rng.randint(1, 16), rng.randint(1, 16)
        if not LEAST <= rows * cols * n <= MULTIPLIERS:
            continue
        pe = rng.choice(("portable", "ecp5"))
        values: dict[str, Any] = {
            "n": n,
            "m": m,
            "rows": rows,
            "cols": cols,
            "drain": rng.choice((1, 2, 4, 8)),
            "port_bytes": rng.choice((4, 8, 16, 32)),
            "max_tokens": rng.choice((32, 64, 128)),
            "max_k": rng.choice((384, 768, 1536, 3072)),
            "pe": pe,
            "device": DEVICE if pe == "ecp5" else "",
        }
        if kind == "core":
            values["hidden"] = rng.choice((128, 256, 384))
            values["store_words"] = rng.choice((512, 768, 1024, 1536, 2048))
        try:
            config = (StaConfig if kind == "core" else Config)(**values)
        except InputError:
            continue
        if multipliers(config) <= MULTIPLIERS and block_rams(config) <= BLOCK_RAMS:
            return config
