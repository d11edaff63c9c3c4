"""What an exploration might find, of random numbers."""

from operator import le
from random import Random
from typing import Any

CANDIDATES = [("4of8", "4:8", 0.9871), ("2of8", "2:8", 0.9123), ("1of8", "1:8", 0.8012), ("2of16", "2:16", 0.7704)]
OPCODES = {"PRODUCT": 0.9, "NORM": 0.05, "TABLE": 0.03, "LOAD": 0.02}
HELD = ("array", "drain", "memory", "layer norm", "softmax and copies")


def exploration(count: int = 1500, seed: int = 0) -> dict[str, Any]:
    """So many points."""
    draw = Random(seed)
    points = [_point(number, draw) for number in range(count)]
    front: list[dict[str, Any]] = []
    for point in sorted(points, key=_costs):  # what beats one comes before it
        point["front"] = not any(all(map(le, _costs(other), _costs(point))) for other in front)
        front += [point] * point["front"]
    front.sort(key=lambda point: point["ms"])
    return {
        "version": 1,
        "model": "minilm",
        "kind": "core",
        "target": {
            "name": "ulx3s-85f",
            "title": "ULX3S with an LFE5U-85F",
            "luts": 83640,
            "registers": 83640,
            "block_rams": 208,
            "multipliers": 156,
        },
        "work": {"sequences": [128], "mem_latency": 30, "memory_bytes_per_cycle": None},
        "objectives": ["accuracy", "latency", "area"],
        "metric": "cosine to the dense model, int8",
        "candidates": [
            {"name": name, "pattern": pattern, "accuracy": accuracy} for name, pattern, accuracy in CANDIDATES
        ],
        "points": points,
        "left_out": [
            {
                "reason": "block RAM",
                "count": 1203,
                "of": "configurations",
                "nearest": "16×8, N = 2, M = 8: 240 block RAMs, 32 too many",
            },
            {
                "reason": "multipliers",
                "count": 87,
                "of": "pairs",
                "example": "16×10, N = 1, M = 8: 160 multipliers, 4 too many",
            },
        ],
        "front": [point["id"] for point in front],
        "verified": [_measured(point) for point in front[:2]],
        "notes": ["The estimate of LUTs is from synthesised cores, within 4%."],
    }


def _point(number: int, draw: Random) -> dict[str, Any]:
    name, pattern, accuracy = draw.choice(CANDIDATES)
    n, m = map(int, pattern.split(":"))
    rows, cols, lanes = draw.choice((1, 2, 3, 4, 6, 8)), draw.choice((1, 2, 4, 6, 8)), draw.choice((1, 2))
    peak = rows * cols * lanes
    pe = draw.choice(("ecp5", "portable"))
    utilisation = draw.uniform(0.5, 0.97)
    multiplies = 1_650_000_000 * n // m
    cycles = int(multiplies / peak / utilisation)
    mhz = round(draw.uniform(90, 142), 1)
    label = f"{rows}×{cols}, N = {lanes}, M = {m}, {pe}"
    return {
        "id": number,
        "candidate": name,
        "label": label,
        "configuration": {
            "n": lanes, "m": m, "rows": rows, "cols": cols, "drain": draw.choice((1, 2, 4)), "port_bytes": 16,
            "max_tokens": 128, "max_k": 1536, "pe": pe, "device": "LFE5U-85F" if pe == "ecp5" else "", "soft_rows": 0,
            "hidden": 384, "store_words": 2048, "groups": 1,
        },
        "cycles": cycles,
        "exact_cycles": cycles,
        "mhz": mhz,
        "ms": cycles / mhz / 1000,
        "luts": 9000 + int(peak * draw.uniform(200, 420)),
        "registers": 8000 + peak * 300,
        "block_rams": draw.randrange(60, 209),
        "multipliers": min(peak, 156),
        "accuracy": accuracy,
        "utilisation": utilisation,
        "multiplies": multiplies,
        "bytes": int(multiplies / draw.uniform(12, 200)),
        "held_by": draw.choice(HELD),
        "by_layer": _by_layer(cycles),
        "front": False,
        "command": f"nmgen build ulx3s-85f --image encoder --rows {rows} --cols {cols} --n {lanes} -o build/{number}",
    }  # fmt: skip


def _by_layer(cycles: int) -> dict[str, dict[str, int]]:
    layers = {
        f"layer {layer}": {opcode: int(cycles * share / 6.2) for opcode, share in OPCODES.items()} for layer in range(6)
    }
    return {"embeddings": {"GATHER": cycles // 50, "NORM": cycles // 80}, **layers, "end": {"POOL": 900}}


def _measured(point: dict[str, Any]) -> dict[str, Any]:
    mhz = point["mhz"]
    return {
        "id": point["id"],
        "cycles": point["cycles"],
        "luts": point["luts"] - 279,
        "registers": point["registers"] + 35,
        "mhz": {"min": mhz - 4, "median": mhz - 0.4, "max": mhz + 2.8},
    }


def _costs(point: dict[str, Any]) -> tuple[float, float, int]:
    """Each the less the better."""
    return -point["accuracy"], point["ms"], point["luts"]
