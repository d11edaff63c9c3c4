"""The search: every pair of a candidate and a configuration where these are few, else NSGA-II; then the front.

What a search does depends on its candidates, its space and its seed alone, and cycles are kept: one that was stopped
goes through the same steps again, and counts only what is missing.
"""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf
from typing import Any

from nmgen.console.progress import Say
from nmgen.cost.model import Cost, Room, cost_of
from nmgen.explore.candidates import Candidate
from nmgen.explore.counting import Counted, Work, key_of
from nmgen.explore.front import costs, front
from nmgen.explore.kept import Kept
from nmgen.explore.points import command_of, further, label_of, point
from nmgen.explore.reference import notes
from nmgen.explore.space import Space
from nmgen.explore.workers import Workers
from nmgen.fpga.report import title
from nmgen.fpga.targets import Target
from rtl.params import Config, InputError
from rtl.sta.params import StaConfig

Pair = tuple[Candidate, Config]
POPULATION = 50  # of a generation
WORST = 1e30  # an objective of what cannot be


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is asked for.

    Attributes
    ----------
    trials : pairs that are looked at, at most
    """

    candidates: Sequence[Candidate]
    space: Space
    target: Target
    room: Room
    work: Work
    objectives: Sequence[str]
    trials: int
    seed: int = 0


NO_CONFIGURATION, NO_PROGRAM = "no such configuration", "no program"
UNMEASURED = (NO_CONFIGURATION, NO_PROGRAM)  # of which none is nearer than another


@dataclass
class _LeftOut:
    """What does not fit, by reason, and of each reason what comes nearest, or one of them."""

    counts: Counter[str] = field(default_factory=Counter)
    nearest: dict[str, tuple[float, str]] = field(default_factory=dict)

    def add(self, reason: str, over: float, text: str) -> None:
        """over : how many times what there is"""
        self.counts[reason] += 1
        if reason not in self.nearest or (over, text) < self.nearest[reason]:
            self.nearest[reason] = over, text

    def facts(self) -> list[dict[str, Any]]:
        """Ready for JSON."""
        return [
            {
                "reason": reason,
                "count": count,
                "of": "pairs" if reason == NO_PROGRAM else "configurations",
                "example" if reason in UNMEASURED else "nearest": self.nearest[reason][1],
            }
            for reason, count in sorted(self.counts.items(), key=lambda one: (-one[1], one[0]))
        ]


class Explorer:
    """One search. say : gets what is done now"""

    def __init__(self, search: Search, kept: Kept, workers: Workers, say: Say) -> None:
        self._s, self._kept, self._workers, self._say = search, kept, workers, say
        self._by_name = {one.name: one for one in search.candidates}
        self._left_out = _LeftOut()
        self._fitting: dict[Config, Cost] = {}
        self._seen: set[Any] = set()  # configurations, and what was said of values of which there is none
        self._refused: set[tuple[str, Config]] = set()
        self._points: dict[tuple[str, Config], dict[str, Any]] = {}

    def run(self) -> dict[str, Any]:
        """The result, for JSON: points in the order in which they were looked at.

        Raises
        ------
        InputError : nothing fits, or has a program.
        """
        s = self._s
        pairs: list[Pair] | None = None
        if s.space.size <= max(LOOKED_AT, s.trials):
            pairs = [(one, config) for config in self._fits_of_all() for one in s.candidates]
        whole = pairs is not None and len(pairs) <= s.trials
        if pairs is not None and whole:
            self._look_at(pairs)
        else:
            self._nsga(s.space)
        if not self._points:
            raise InputError(self._nothing(whole))
        found = [{"id": number, **one} for number, one in enumerate(self._points.values())]
        further(found)
        chosen = front(found, s.objectives)
        for one in found:
            one["front"] = one["id"] in chosen
        chosen.sort(key=lambda number: (found[number]["ms"], number))
        result = {"points": found, "front": chosen, "left_out": self._left_out.facts()}
        return result | {"notes": notes({**result, "objectives": s.objectives})}

    # --- what fits -----------------------------------------------------------------------------
    def _fits_of_all(self) -> list[Config]:
        """The configurations of the space that fit."""
        self._say(f"costs of {self._s.space.size:,} configurations")
        found = [self._fit(chosen) for chosen in self._s.space]
        fitting = list(dict.fromkeys(config for config in found if config is not None))
        if "block_rams" in self._s.objectives:
            return fitting
        # Of those that differ in the words of the store alone, that with the most: it takes the fewest cycles.
        largest: dict[Config, Config] = {}
        for config in sorted(fitting, key=_store_words):
            largest[_one_word(config)] = config
        return [config for config in fitting if largest[_one_word(config)] == config]

    def _fit(self, chosen: Mapping[str, Any]) -> Config | None:
        """The configuration of these values, if there is one and it fits; else it is counted, once."""
        s = self._s
        try:
            config = s.space.configuration(chosen, s.target.device)
        except InputError as error:
            if (text := f"{_named(chosen)}: {error}") not in self._seen:
                self._left_out.add(NO_CONFIGURATION, inf, text)
            self._seen.add(text)
            return None
        if config in self._seen:
            return config if config in self._fitting else None
        self._seen.add(config)
        cost = cost_of(config)
        if (lack := s.room.lacks(cost)) is not None:
            what, needed, there = lack
            text = (
                f"{label_of(config)}: {needed:,} {what}, {needed - there:,} more than the {there:,} of {s.target.name}"
            )
            self._left_out.add(what, needed / there, text)
            return None
        self._fitting[config] = cost
        return config

    def _nothing(self, whole: bool) -> str:
        """Why there is no point. whole : every pair was looked at"""
        nearest = self._left_out.nearest
        _, text = min(nearest.values(), default=(0.0, "the space is empty"))
        if nearest.keys() == {NO_CONFIGURATION}:
            return f"none of the space's configurations is possible: {text}"
        trials = self._s.trials
        what = "nothing" if whole else f"none of {trials:,} pairs that were drawn"
        more = "" if whole else f"; --trials {10 * trials} looks at more"
        return f"{what} fits {self._s.target.name}; the nearest is {text}{more}"

    # --- what is counted -----------------------------------------------------------------------
    def _look_at(self, pairs: Sequence[Pair]) -> None:
        """Make points of them; what was counted before is not counted again."""
        s = self._s
        keys = {pair: key_of(pair[0].digest, pair[1], s.work) for pair in pairs}
        found = self._kept.known(keys.values())
        # Pairs that differ in the words of the store alone, most words first: that may stand for some of the others.
        alike: dict[Any, list[Pair]] = {}
        for pair in sorted(keys, key=lambda pair: -_store_words(pair[1])):
            if keys[pair] not in found:
                alike.setdefault((pair[0].digest, _but_store(pair[1])), []).append(pair)
        while groups := [group for group in alike.values() if group]:
            self._say(f"counting cycles: {len(found):,} of {len(set(keys.values())):,}")
            tasks = [(str(group[0][0].file), group[0][1]) for group in groups]
            for number, counted in self._workers.count(tasks, s.work):
                group = groups[number]
                own = _store_words(group[0][1])
                for pair in [pair for pair in group if _stands_for(own, counted, _store_words(pair[1]))]:
                    group.remove(pair)
                    if keys[pair] not in found:
                        found[keys[pair]] = counted
                        self._kept.add(keys[pair], counted)
                self._say(f"counting cycles: {len(found):,} of {len(set(keys.values())):,}")
        for pair, key in keys.items():
            self._note(*pair, found[key])

    def _note(self, candidate: Candidate, config: Config, counted: Counted) -> None:
        if counted.refused:
            if (candidate.name, config) in self._refused:  # NSGA-II asks again
                return
            self._refused.add((candidate.name, config))
            self._left_out.add(NO_PROGRAM, 1.0, f"{candidate.name} on {title(config)}: {counted.refused}")
            return
        command = command_of(config, self._s.target.name)
        self._points[candidate.name, config] = point(candidate, config, self._fitting[config], counted, command)

    # --- NSGA-II -------------------------------------------------------------------------------
    def _nsga(self, space: Space) -> None:
        """A generation after another: the same ones for the same seed."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():  # of Optuna 5: it has another way, which Optuna 4 lacks
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.NSGAIISampler(
                population_size=POPULATION,
                seed=self._s.seed,
                constraints_func=lambda trial: (trial.user_attrs["over"],),
            )
        study = optuna.create_study(directions=["minimize"] * len(self._s.objectives), sampler=sampler)
        for first in range(0, self._s.trials, POPULATION):
            trials = [study.ask() for _ in range(min(POPULATION, self._s.trials - first))]
            pairs = [self._asked(trial, space) for trial in trials]
            known = [pair for pair in pairs if pair is not None]
            self._look_at([pair for pair in dict.fromkeys(known) if (pair[0].name, pair[1]) not in self._points])
            for trial, pair in zip(trials, pairs, strict=True):
                found = self._points.get((pair[0].name, pair[1])) if pair else None
                trial.set_user_attr("over", 0.0 if found else 1.0)
                study.tell(trial, costs(found, self._s.objectives) if found else [WORST] * len(self._s.objectives))

    def _asked(self, trial: Any, space: Space) -> Pair | None:
        """A pair that the sampler chose; None where the configuration does not fit."""
        candidate = self._by_name[trial.suggest_categorical("candidate", list(self._by_name))]
        chosen = {name: trial.suggest_categorical(name, list(values)) for name, values in space.values.items()}
        config = self._fit(chosen)
        return None if config is None else (candidate, config)


LOOKED_AT = 50_000  # configurations, of which the cost is a matter of a minute


def _store_words(config: Config) -> int:
    return config.store_words if isinstance(config, StaConfig) else 0


def _but_store(config: Config) -> Config:
    """What cycles depend on beside the words of the store."""
    return _one_word(replace(config, device="", soft_rows=0))


def _one_word(config: Config) -> Config:
    """With one word in a bank of the store."""
    return replace(config, store_words=1) if isinstance(config, StaConfig) else config


def _stands_for(own: int, counted: Counted, others: int) -> bool:
    """Whether what was counted with a store of so many words is so with another number of them."""
    return others == own or (not counted.refused and counted.store_words <= others < own)


def _named(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in chosen.items())


def facts(search: Search, kind: str, model: str) -> dict[str, Any]:
    """What a result says beside its points."""
    return {
        "version": 1,
        "model": model,
        "kind": kind,
        "target": {"name": search.target.name, "title": search.target.title, **asdict(search.room)},
        "work": {
            "sequences": [*search.work.lengths] * search.work.batch,
            "mem_latency": search.work.mem_latency,
            "memory_bytes_per_cycle": search.work.memory_bytes_per_cycle,
        },
        "objectives": list(search.objectives),
        "metric": search.candidates[0].metric,
        "candidates": [
            {"name": one.name, "pattern": one.pattern, "accuracy": one.accuracy} for one in search.candidates
        ],
    }
