"""Points: a candidate on a configuration, with its cost and its cycles."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from nmgen.cost.model import Cost
from nmgen.explore.candidates import Candidate
from nmgen.explore.counting import Counted
from nmgen.fpga.report import title
from rtl.params import Config
from rtl.sta.params import StaConfig


def point(candidate: Candidate, config: Config, cost: Cost, counted: Counted, command: str) -> dict[str, Any]:
    """For JSON; without its number, and whether it is on the front."""
    held = counted.held or {"array": counted.cycles}
    return {
        "candidate": candidate.name,
        "label": label_of(config),
        "configuration": asdict(config),
        "cycles": counted.cycles,
        "exact_cycles": counted.exact_cycles,
        "mhz": round(cost.mhz, 1),
        "ms": round(counted.cycles / cost.mhz / 1000, 4),
        "luts": cost.luts,
        "registers": cost.registers,
        "block_rams": cost.block_rams,
        "multipliers": cost.multipliers,
        "accuracy": candidate.accuracy,
        "utilisation": round(counted.multiplies / (counted.cycles * config.rows * config.cols * config.n), 4),
        "multiplies": counted.multiplies,
        "bytes": counted.bytes,
        "held_by": max(held, key=lambda part: held[part]),
        "held": held,
        "by_layer": counted.by_layer,
        "command": command,
    }


def label_of(config: Config) -> str:
    """In a few words, with what the cycles depend on beside the array."""
    groups = f", {config.groups} groups" if isinstance(config, StaConfig) and config.groups > 1 else ""
    return f"{title(config)}, drain {config.drain}, port {config.port_bytes}{groups}"


# Parameters of which more may mean fewer cycles.
GROWING = ("n", "rows", "cols", "drain", "port_bytes")
FOLLOWING = ("max_tokens", "store_words")  # that follow from these, unless a space says otherwise


def further(points: Sequence[dict[str, Any]]) -> None:
    """Notes at each point what one step further would buy: the share of its cycles that a candidate takes more, or
    less, with the next larger value of one parameter, where there is such a point."""

    def key(one: Mapping[str, Any], **changed: Any) -> tuple[Any, ...]:
        configuration = one["configuration"] | changed
        return one["candidate"], *(value for name, value in configuration.items() if name not in FOLLOWING)

    cycles: dict[Any, int] = {}
    for one in points:
        cycles[key(one)] = min(one["cycles"], cycles.get(key(one), one["cycles"]))
    values = {name: sorted({one["configuration"][name] for one in points}) for name in GROWING}
    for one in points:
        found: dict[str, float] = {}
        for name in GROWING:
            larger = [value for value in values[name] if value > one["configuration"][name]]
            if larger and (other := cycles.get(key(one, **{name: larger[0]}))) is not None:
                found[f"{NAMES[name]} {larger[0]}"] = round(other / one["cycles"] - 1, 4)
        one["further"] = found


NAMES = {"n": "N =", "rows": "rows", "cols": "columns", "drain": "drain", "port_bytes": "port"}


def command_of(config: Config, target: str) -> str:
    """That makes its Verilog, in a folder of its own."""
    kind = "sta" if isinstance(config, StaConfig) else "engine"
    default = type(config)()
    flags = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in asdict(config).items()
        if value != getattr(default, name)
    ]
    short = f"{config.rows}x{config.cols}-n{config.n}-m{config.m}-{config.pe}"
    own = sha256(" ".join(flags).encode()).hexdigest()[:6]  # of what is not said in short
    return " ".join(["nmgen generate", "--kind", kind, *flags, "-o", f"build/{target}-{short}-{own}"])
