"""The search on tiny artefacts: every pair that fits, once, with its own cycles; NSGA-II; what is left out."""

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from nmgen.compiler.memory_map import Sizes, StorePlan, plan_store
from nmgen.cost.model import cost_of, room_of
from nmgen.explore.candidates import Candidate
from nmgen.explore.counting import Counted, Work
from nmgen.explore.front import front
from nmgen.explore.kept import Kept
from nmgen.explore.search import Explorer, Search
from nmgen.explore.space import KINDS, Space
from nmgen.fpga.targets import find_target
from rtl.params import Config, InputError, round_up
from rtl.sta.params import StaConfig
from tests.nmgen.explore.samples import SPACE, Here, candidates, counted_once

ULX3S = find_target("ulx3s-85f")
WORK = Work(lengths=(7, 5))
OBJECTIVES = ["accuracy", "latency", "area", "block_rams"]  # the last: or of each array the largest store alone
SMALL = SPACE | {"n": (2,), "m": (4,), "cols": (4,)}
# 96 times 2, of which a quarter are no configurations.
MANY = SPACE | {"m": (4, 8), "n": (1, 8), "cols": (2, 4), "rows": (2, 3), "store_words": (16, 20, 24, 28, 32, 64)}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Candidate]:
    return candidates(tmp_path_factory.mktemp("candidates") / "own")


def search(of: list[Candidate], values: Mapping[str, tuple[Any, ...]], kind: str = "core", **changes: Any) -> Search:
    space = Space(kind, values, WORK.lengths)
    own = Search(candidates=of, space=space, target=ULX3S, room=room_of(ULX3S), work=WORK,
                 objectives=OBJECTIVES, trials=10_000)  # fmt: skip
    return replace(own, **changes)


def explored(asked: Search, folder: Path, workers: Here | None = None) -> dict[str, Any]:
    kept = Kept(folder)
    try:
        return Explorer(asked, kept, workers or Here(), lambda text: None).run()
    finally:
        kept.close()


def alone(asked: Search, config: Config, candidate: Candidate) -> Counted:
    return counted_once(str(candidate.file), config, asked.work)


def config_at(point: Mapping[str, Any], kind: str = "core") -> Config:
    return KINDS[kind](**point["configuration"])


def fitting(asked: Search) -> list[Config]:
    """Those that are configurations and have room, by another way than the search's."""
    every = []
    for chosen in product(*asked.space.values.values()):
        try:
            config = asked.space.configuration(dict(zip(asked.space.values, chosen, strict=True)), ULX3S.device)
        except InputError:
            continue
        if asked.room.lacks(cost_of(config)) is None:
            every.append(config)
    return every


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({}, id="small"),
        pytest.param({"hidden": 24, "heads": 3, "inner": 56}, id="three heads", marks=pytest.mark.nightly),
    ],
)
def test_every_pair_once_with_its_own_cycles(sizes: dict[str, int], tmp_path: Path) -> None:
    """With stores of many sizes, one of which stands for others: they end where the program is another."""
    of = candidates(tmp_path / "own", **sizes)
    values = SMALL | {"hidden": (24,), "max_k": (64,), "pe": ("ecp5", "portable"), "m": (4, 8), "rows": (2,)}
    values |= {"store_words": (8, 18, 20, 22, 24, 26, 28, 30, 32, 36, 48, 256)}
    asked, workers = search(of, values), Here()
    result = explored(asked, tmp_path, workers)
    wanted, refused, programs = {}, 0, set()
    for config in fitting(asked):
        for one in of:
            counted = alone(asked, config, one)
            refused += bool(counted.refused)
            if not counted.refused:
                wanted[one.name, config] = counted
                programs.add((one.name, replace(config, store_words=1), counted.store_words, counted.cycles))
    points = {(one["candidate"], config_at(one)): one for one in result["points"]}
    assert len(points) == len(result["points"])
    assert points.keys() == wanted.keys()
    for pair, counted in wanted.items():
        one = points[pair]
        assert (one["cycles"], one["bytes"], one["by_layer"]) == (counted.cycles, counted.bytes, counted.by_layer)
        assert (one["held"], one["multiplies"]) == (counted.held, counted.multiplies)
    (left_out,) = result["left_out"]
    assert left_out["reason"] == "no program"
    assert left_out["count"] == refused > 0
    assert left_out["of"] == "pairs"
    # As many as there are programs and refusals, not as many as there are pairs.
    assert len(programs) + refused == len(workers.tasks) < len(points)
    assert len({one[2] for one in programs}) > 3


def test_facts_of_a_point(found: list[Candidate], tmp_path: Path) -> None:
    asked = search(found, SMALL | {"store_words": (64,), "rows": (3,)})
    result = explored(asked, tmp_path)
    assert [one["id"] for one in result["points"]] == [0, 1]
    for one, candidate in zip(result["points"], found, strict=True):
        config = config_at(one)
        cost, counted = cost_of(config), alone(asked, config, candidate)
        assert one["candidate"] == candidate.name
        assert one["accuracy"] == candidate.accuracy
        assert one["label"] == "3×4, N = 2, M = 4, portable, drain 2, port 4"
        assert (one["luts"], one["registers"], one["mhz"]) == (cost.luts, cost.registers, round(cost.mhz, 1))
        assert (one["block_rams"], one["multipliers"]) == (cost.block_rams, cost.multipliers)
        assert one["ms"] == pytest.approx(counted.cycles / cost.mhz / 1000, abs=1e-4)
        assert one["utilisation"] == pytest.approx(counted.multiplies / counted.cycles / 24, abs=1e-4)
        assert counted.held[one["held_by"]] == max(counted.held.values())


def test_the_front_by_latency(found: list[Candidate], tmp_path: Path) -> None:
    result = explored(search(found, MANY), tmp_path)
    chosen = front(result["points"], OBJECTIVES)
    assert sorted(result["front"]) == chosen
    assert [one["id"] for one in result["points"] if one["front"]] == chosen
    ms = [result["points"][number]["ms"] for number in result["front"]]
    assert ms == sorted(ms)
    assert 1 < len(chosen) < len(result["points"])


def test_of_each_array_the_largest_store(found: list[Candidate], tmp_path: Path) -> None:
    """Unless block RAM counts: no smaller one takes fewer cycles, or costs less of what counts then."""
    all_of_them = explored(search(found, MANY), tmp_path)
    some = explored(search(found, MANY, objectives=OBJECTIVES[:3]), tmp_path)
    assert {one["configuration"]["store_words"] for one in some["points"]} == {64}
    assert len(all_of_them["points"]) > 3 * len(some["points"])

    def array(one: Mapping[str, Any]) -> tuple[Any, ...]:
        return one["candidate"], *(one["configuration"] | {"store_words": 0}).values()

    largest = {array(one): one for one in some["points"]}
    for one in all_of_them["points"]:
        for key in ("cycles", "ms", "luts"):
            assert one[key] >= largest[array(one)][key]


def test_what_is_kept_is_not_counted_again(found: list[Candidate], tmp_path: Path) -> None:
    first = explored(search(found, SMALL), tmp_path)
    workers = Here()
    assert explored(search(found, SMALL), tmp_path, workers) == first
    assert workers.tasks == []
    assert explored(search(found, SMALL | {"rows": (2, 3, 4)}), tmp_path, workers)["points"] != first["points"]
    assert {config.rows for _, config in workers.tasks} == {4}


def test_engines(found: list[Candidate], tmp_path: Path) -> None:
    values = {name: of for name, of in SPACE.items() if name not in ("hidden", "store_words")}
    asked = search(found, values | {"pe": ("ecp5", "portable")}, "engine")
    result = explored(asked, tmp_path)
    assert len(result["points"]) == len(fitting(asked)) * 2 == 64
    by_name = {one.name: one for one in found}
    for one in result["points"]:
        config = config_at(one, "engine")
        assert one["cycles"] == alone(asked, config, by_name[one["candidate"]]).cycles
        assert one["held_by"] == "array"


def test_left_out_with_the_nearest(found: list[Candidate], tmp_path: Path) -> None:
    values = SMALL | {"rows": (2, 16), "cols": (4, 12, 16), "n": (2, 8), "m": (4, 8)}
    values |= {"store_words": (64, 1 << 14), "drain": (2,)}
    asked = search(found, values)
    result = explored(asked, tmp_path)
    said = {one["reason"]: one for one in result["left_out"]}
    counts = {"no such configuration": 0}
    overs: dict[str, list[tuple[float, int, int]]] = {}
    for chosen in asked.space:
        try:
            config = asked.space.configuration(chosen, "")
        except InputError:
            counts["no such configuration"] += 1
            continue
        if (lack := asked.room.lacks(cost_of(config))) is not None:
            overs.setdefault(lack[0], []).append((lack[1] / lack[2], lack[1], lack[2]))
    assert counts["no such configuration"] == 2 * 3 * 2
    wanted = counts | {what: len(of) for what, of in overs.items()}
    assert {reason: one["count"] for reason, one in said.items()} == wanted
    assert {"multipliers", "block RAM"} <= overs.keys()
    for what, of in overs.items():
        _, needed, there = min(of)
        assert f" {needed:,} {what}, {needed - there:,} more than the {there:,} of ulx3s-85f" in said[what]["nearest"]
    assert "n is 8, must be at most m = 4" in said["no such configuration"]["example"]
    assert {one["of"] for one in result["left_out"]} == {"configurations"}
    order = [one["count"] for one in result["left_out"]]
    assert order == sorted(order, reverse=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"store_words": (8,)},
            "nothing fits ulx3s-85f; the nearest is 2of8 on 2×4, N = 2, M = 4, portable",
        ),
        ({"n": (8,)}, "none of the space's configurations is possible: n = 8, m = 4"),
        ({"rows": (32,), "cols": (32,)}, "multipliers, 1,"),
        (
            {"rows": (14,), "cols": (16, 14), "store_words": (64,)},
            "404 multipliers, 248 more than the 156 of ulx3",
        ),
    ],
)
def test_nothing_fits(changes: dict[str, Any], message: str, found: list[Candidate], tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        explored(search(found, SMALL | changes), tmp_path)
    assert message in str(raised.value)


def test_nothing_of_few_that_were_drawn_fits(found: list[Candidate], tmp_path: Path) -> None:
    """Which is not to say that nothing fits."""
    values = SMALL | {"rows": (1, *range(20, 32)), "cols": (12, 16), "n": (4,)}
    with pytest.raises(
        InputError, match=r"^none of 2 pairs that were drawn fits ulx3s-85f; .*; --trials 20 looks at m"
    ):
        explored(search(found, values, trials=2, seed=1), tmp_path)


# --- NSGA-II ---------------------------------------------------------------------------------------------------------
def test_nsga_is_the_same_for_the_same_seed(found: list[Candidate], tmp_path: Path) -> None:
    """Of no more pairs than were asked for; what was kept changes nothing."""
    first = explored(search(found, MANY, trials=80, seed=3), tmp_path / "a")
    assert 20 < len(first["points"]) <= 80
    assert explored(search(found, MANY, trials=80, seed=3), tmp_path / "b") == first
    other = explored(search(found, MANY, trials=80, seed=4), tmp_path / "a")
    assert other != first
    assert explored(search(found, MANY, trials=80, seed=3), tmp_path / "a") == first
    pairs = [(one["candidate"], config_at(one)) for one in first["points"]]
    assert len(set(pairs)) == len(pairs)
    by_name = {one.name: one for one in found}
    for one in random.Random(0).sample(first["points"], 10):
        assert one["cycles"] == alone(search(found, MANY), config_at(one), by_name[one["candidate"]]).cycles


def test_nsga_comes_near_the_front(found: list[Candidate], tmp_path: Path) -> None:
    """In half of the trials most of what the whole front has, by the points that it beats."""
    whole = explored(search(found, MANY), tmp_path)
    some = explored(search(found, MANY, trials=100, seed=1), tmp_path)
    assert len(some["points"]) <= 100 < len(whole["points"])
    for best in ("ms", "luts"):
        least = [min(one[best] for one in result["points"]) for result in (whole, some)]
        assert least[1] <= 1.1 * least[0]


def test_few_that_fit_are_all_looked_at(found: list[Candidate], tmp_path: Path) -> None:
    """Of a space beyond the trials, where what fits is within them."""
    values = SMALL | {"rows": (2, 16), "cols": (4, 16), "m": (4, 8), "n": (2,)}
    asked = search(found, values)
    fit = fitting(asked)
    asked = replace(asked, trials=2 * len(fit))
    assert asked.space.size > len(fit)
    result = explored(asked, tmp_path)
    counted = {one["reason"]: one["count"] for one in result["left_out"]}
    assert len(result["points"]) + counted.pop("no program") == 2 * len(fit)
    assert sum(counted.values()) == asked.space.size - len(fit)


def test_nsga_counts_what_is_left_out_once(
    found: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it asks: there are but so many."""
    monkeypatch.setattr("nmgen.explore.search.LOOKED_AT", 0)
    values = SMALL | {"n": (2, 8), "store_words": (8, 64), "rows": (2, 16), "cols": (4, 16)}
    asked = search(found, values, trials=31)
    result = explored(replace(asked, space=replace(asked.space)), tmp_path)
    most = {"no such configuration": 8, "multipliers": 2, "no program": 12}
    assert {one["reason"] for one in result["left_out"]} == most.keys()
    for one in result["left_out"]:
        assert one["count"] <= most[one["reason"]]


def test_nsga_looks_at_no_more_than_it_is_asked_to(found: list[Candidate], tmp_path: Path) -> None:
    workers = Here()
    explored(search(found, MANY, trials=7, seed=1), tmp_path, workers)
    assert 0 < len(workers.tasks) <= 7


# --- the plan of the store -------------------------------------------------------------------------------------------
def plan(config: StaConfig, sizes: Sizes) -> StorePlan | None:
    try:
        return plan_store(config, sizes)
    except InputError:
        return None


@pytest.mark.parametrize("seed", range(40))
def test_a_plan_is_the_same_in_any_store_that_holds_it(seed: int) -> None:
    """So what was counted with a store stands for smaller ones, down to the words that the program uses."""
    rng = random.Random(seed)
    m = rng.choice((4, 8, 16))
    config = StaConfig(m=m, rows=rng.randint(1, 6), cols=rng.choice((1, 2, 4, 6)), port_bytes=rng.choice((4, 8, 16)))
    heads = rng.choice((1, 2, 3, 4, 6))
    size = rng.randint(1, 24)
    longest = rng.randint(1, 12)
    sizes = Sizes(
        tiles=longest * rng.randint(1, 3),
        sequence_tiles=longest,
        keys=longest * config.rows - rng.randrange(config.rows),
        hidden=heads * size,
        inner=rng.randint(1, 6 * heads * size),
        heads=heads,
        head_pitch=round_up(size, config.store_word_bytes),
    )
    print(config, sizes)
    plans: dict[int, StorePlan | None] = {}
    words = 1
    while words < 6000:
        plans[words] = plan(replace(config, store_words=words), sizes)
        words += 1 if words < 200 else rng.randint(1, 40)
    made = {one for one in plans.values() if one}
    assert made
    for store, one in plans.items():
        if one is not None:
            for other in {one.words, (one.words + store) // 2, store - 1}:
                if one.words <= other < store:
                    assert plan(replace(config, store_words=other), sizes) == one
    assert any(one is None for one in plans.values()) or min(one.words for one in made) == 1
