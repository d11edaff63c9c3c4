"""`nmgen explore`: what it writes and prints; bad input is one line."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmgen.cli import main
from nmgen.explore import workers
from pruning.families.vit.folder import save as save_vit
from pruning.families.vit.shape import ViTShape
from pruning.files.artefact import save
from tests.nmgen.explore.samples import SPACE, Here, space_file, write_candidates
from tests.nmgen.page.reader import Reader
from tests.nmgen.test_cli import fails
from tests.pruning.samples import random_layer, write_model
from tests.pruning.vits import random_images, random_vit

FEW = SPACE | {"n": (2,), "m": (4, 8), "rows": (2,), "cols": (4,), "store_words": (32, 64)}
ENGINES = {name: of for name, of in FEW.items() if name not in ("hidden", "store_words")}
TINY = ViTShape(image=8, patch=4, channels=1, hidden=16, layers=1, heads=2, intermediate=24, labels=3)
FACTS = (
    "version", "model", "kind", "target", "work", "objectives", "metric", "candidates", "notes", "points", "front",
    "left_out",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates, whose files do not change."""
    folder = tmp_path_factory.mktemp("made")
    write_candidates(folder / "found")
    write_candidates(folder / "larger", hidden=24, heads=3)
    return folder


@pytest.fixture(autouse=True)
def _own_folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder with candidates and small spaces; it counts in its own process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "Processes", lambda jobs: Here())
    for name in ("found", "larger"):
        Path(name).symlink_to(made / name)
    space_file(Path("few.toml"), FEW)
    space_file(Path("engines.toml"), ENGINES)


def explore(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What --json prints, which is front.json."""
    assert main(["explore", *arguments, "-o", "out", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out == Path("out/front.json").read_text()
    found: dict[str, Any] = json.loads(said.out)
    return found


GOOD = ("found", "--seq", "7,5", "--space", "few.toml")


def test_files(capsys: pytest.CaptureFixture[str]) -> None:
    found = explore(capsys, *GOOD)
    assert {*found} == {*FACTS}
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "cycles.db", "front.json", "points.csv", "report.html"
    ]  # fmt: skip
    assert (found["model"], found["kind"], found["target"]["name"]) == ("found", "core", "ulx3s-85f")
    assert found["work"] == {"sequences": [7, 5], "mem_latency": 30, "memory_bytes_per_cycle": None}
    assert [one["id"] for one in found["points"]] == sorted(found["front"])
    assert all(one["front"] for one in found["points"])
    rows = list(csv.DictReader(Path("out/points.csv").read_text().splitlines()))
    assert len(rows) == 4  # of each array the larger store
    assert {row["store_words"] for row in rows} == {"64"}
    assert [int(row["id"]) for row in rows if row["front"] == "True"] == sorted(found["front"])
    for one in found["points"]:
        row = rows[one["id"]]
        for name, value in (one | one["configuration"]).items():
            if name in row:
                assert row[name] == str(value), name
    page = Reader(Path("out/report.html").read_text())
    assert not page.open
    assert page.facts["points"] == "4"
    assert page.facts["on the front"] == str(len(found["front"]))


def test_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    found = explore(capsys, *GOOD, "--mem-latency", "7")
    assert main(["explore", *GOOD, "--mem-latency", "7", "-o", "out"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    words = " ".join(said.out.split())
    assert f"out: 4 pairs, {len(found['front'])} on the front of accuracy, latency, area" in words
    assert "the page is out/report.html" in words
    for one in found["points"]:
        assert f"{one['cycles']:,}" in said.out
        assert f"{one['luts']:,}" in said.out
    assert found["work"]["mem_latency"] == 7


def test_what_is_left_out_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    space_file(Path("few.toml"), FEW | {"store_words": (20,), "n": (2, 8), "rows": (2, 16), "cols": (4, 16)})
    assert main(["explore", *GOOD, "-o", "out"]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out, ")]
    assert {line.split(",")[1].split(":")[0].strip() for line in said} >= {
        "multipliers", "no program", "no such configuration"
    }  # fmt: skip


def test_before_a_slow_memory(capsys: pytest.CaptureFixture[str]) -> None:
    fast, slow = (explore(capsys, *GOOD, *further) for further in ([], ["--memory-bytes-per-cycle", "0.25"]))
    assert (fast["work"]["memory_bytes_per_cycle"], slow["work"]["memory_bytes_per_cycle"]) == (None, 0.25)
    assert all(one["cycles"] == one["exact_cycles"] for one in fast["points"])
    for one in slow["points"]:
        assert one["cycles"] > one["exact_cycles"]
        assert one["cycles"] >= one["bytes"] / 0.26
        assert one["held_by"] == "memory"


def test_a_long_front_is_shown_in_part(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("nmgen.commands.explore.SHOWN", 2)
    found = explore(capsys, *GOOD, "--objectives", "accuracy,cycles,area,multipliers,traffic")
    assert len(found["front"]) > 3
    assert main(["explore", *GOOD, "--objectives", "accuracy,cycles,area,multipliers,traffic", "-o", "out"]) == 0
    said = capsys.readouterr().out
    assert "2 of which are here" in " ".join(said.split())
    assert len([one for one in found["points"] if f"{one['cycles']:,}" in said]) >= 2
    assert said.count("of8 ") == 2


def test_engines(capsys: pytest.CaptureFixture[str]) -> None:
    found = explore(capsys, "found", "--seq", "7", "--batch", "2", "--space", "engines.toml", "--kind", "engine")
    assert found["kind"] == "engine"
    assert found["work"]["sequences"] == [7, 7]
    assert {one["configuration"]["max_tokens"] for one in found["points"]} == {16}
    assert all("hidden" not in one["configuration"] for one in found["points"])


def test_some_artefacts(capsys: pytest.CaptureFixture[str]) -> None:
    found = explore(capsys, "found/2of8.safetensors", *GOOD[1:])
    assert [one["name"] for one in found["candidates"]] == ["2of8"]
    assert found["model"] == "2of8.safetensors"


def test_candidates_made_here(capsys: pytest.CaptureFixture[str]) -> None:
    """By patterns, and kept: a search that goes on has the same ones; one of others is another search."""
    write_model(Path("small"))
    space_file(Path("few.toml"), FEW | {"hidden": (24,), "max_k": (64,)})
    arguments = ("small", "--patterns", "2:8, dense", "--seq", "7", "--space", "few.toml")
    found = explore(capsys, *arguments)
    assert [(one["name"], one["pattern"]) for one in found["candidates"]] == [("2of8", "2:8"), ("dense", "dense")]
    sparse, dense = (one["accuracy"] for one in found["candidates"])
    assert sparse < dense <= 1
    assert explore(capsys, *arguments) == found
    assert "holds candidates of another search (patterns, lengths), give" in fails(
        ["explore", "small", "--patterns", "2:8", "--seq", "6", "-o", "out"], capsys
    )
    weights = Path("small/model.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "holds candidates of another search (content), give" in fails(["explore", *arguments, "-o", "out"], capsys)


def test_two_scores_of_one_artefact(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the reports of two folders; one score is one candidate."""
    Path("again").mkdir()
    Path("again/2of8.safetensors").symlink_to(made / "found" / "2of8.safetensors")
    report = {"candidates": [{"artefact": "2of8.safetensors", "int8": {"cosine": 0.91}}]}
    Path("again/report.json").write_text(json.dumps(report))
    line = ("found/2of8.safetensors", "again", *GOOD[1:])
    assert len(explore(capsys, *line)["candidates"]) == 1
    Path("again/report.json").write_text(json.dumps(report).replace("0.91", "0.5"))
    message = "again/2of8.safetensors has two scores, 0.91 and 0.5: must have one"
    assert message in fails(["explore", *line, "-o", "out"], capsys)


def test_what_prune_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    """prune and explore one after another, of a ViT."""
    save_vit(random_vit(TINY), Path("vit"))
    np.save("pictures.npy", random_images(TINY, 20)[:, 0].numpy())
    space_file(Path("few.toml"), FEW | {"n": (1,)})
    prune = ["prune", "vit", "--patterns", "2:8,4:8", "--method", "magnitude", "--calibrate", "pictures.npy"]
    assert main([*prune, "-o", "pruned", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    found = explore(capsys, "pruned", "--space", "few.toml", "--batch", "3")
    assert {one["name"] for one in found["candidates"]} == {"2of8", "4of8"}
    for one, entry in zip(found["candidates"], report["candidates"], strict=True):
        assert one["accuracy"] == entry["int8"]["cosine"]
    assert {one["configuration"]["max_tokens"] for one in found["points"]} == {32}  # 5 each, of which two end a row
    engines = explore(capsys, "pruned", "--space", "engines.toml", "--kind", "engine")
    assert {one["configuration"]["max_tokens"] for one in engines["points"]} == {8}
    assert "is a ViT, whose tokens are its patches" in fails(["explore", "pruned", "--seq", "7", "-o", "out"], capsys)


def test_sequences_that_begin_with_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Arrays of three rows have programs for them, too."""
    space_file(Path("few.toml"), FEW | {"rows": (3,), "store_words": (256,)})
    found = explore(capsys, "found", "--seq", "4", "--batch", "4", "--space", "few.toml")
    assert {one["configuration"]["max_tokens"] for one in found["points"]} == {32}
    assert found["left_out"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["found"], "-o"),
        (["--objectives", "speed"], "objective is 'speed', must be one of accuracy"),
        (["--objectives", "area,area"], "objective area is there twice"),
        (["--target", "xilinx"], "target is xilinx, which has no cost model"),
        (["--target", "ice40-up5k"], "target is ice40-up5k, which has no cost model"),
        (["--target", "moon"], "board is 'moon', must be one of"),
        (["--trials", "0"], "trials is 0, must be an integer from 1 to 10000000"),
        (["--trials", "many"], "trials is many"),
        (["--seed", "-1"], "seed is -1"),
        (["--jobs", "0"], "jobs is 0"),
        (["--verify", "0"], "verify is 0"),
        (["--batch", "0"], "batch is 0"),
        (["--memory-bytes-per-cycle", "0"], "memory-bytes-per-cycle is 0"),
        (["--seq", "0"], "seq is '0', must be numbers of tokens"),
        (["--seq", "7,"], "seq is '7,', must be numbers of tokens"),
        (["--seq", "9999999"], "nothing fits ulx3s-85f; the nearest is"),
        (["--space", "missing.toml"], "missing.toml: No such file or directory"),
        (["--space", "found"], "found: Is a directory"),
        (["--kind", "board"], "board"),
        (["--calibrate", "x"], "--calibrate is for candidates that are made here"),
        (["--patterns", "3:0"], "3:0"),
        (["--patterns", "2:8,2:8"], "pattern 2:8 is there twice, must be once"),
        (["--patterns", ""], "pattern"),
        (["--dask", "nonsense"], "scheduler is 'nonsense', must be an address such as tcp://host:8786"),
        (["--dask", ""], "scheduler is '', must be an address"),
        (["--dask", "udp://x:1"], "scheduler is 'udp://x:1', must be an address"),
    ],
)
def test_bad_options(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    good = [] if arguments == ["found"] else ["found", *GOOD[1:], "-o", "out"]
    assert message in fails(["explore", *good, *arguments], capsys)
    assert not Path("out/front.json").exists()


def test_patterns_of_two_models(capsys: pytest.CaptureFixture[str]) -> None:
    write_model(Path("small"))
    message = fails(["explore", "small", "found", "--patterns", "2:8", "-o", "out"], capsys)
    assert "--patterns are of one model, there are 2" in message


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("rows = []", "few.toml: rows has no values: the space is empty"),
        ("row = [2]", "few.toml: row is no parameter of a configuration (core), must be one of n, m, rows"),
        ("rows = [", "few.toml is not a TOML file"),
        ("n = 8\nm = 4", "none of the space's configurations is possible: n = 8, m = 4, rows = "),
        ("rows = 16\ncols = 12", "multipliers, "),
        ("n = 1\nm = 4\nrows = 4\ncols = 8\nstore_words = 65536", " block RAM, "),
        ("n = 1\nm = 4\nrows = 4\ncols = 8\nport_bytes = 4\nstore_words = 2", "the store has 2 words a bank"),
        ("m = 4\nrows = 4\ncols = 4\nport_bytes = 4\nmax_tokens = 4", "tokens of all sequences: "),
        (f"rows = {'9' * 300}", "rows ="),
    ],
)
def test_spaces_in_which_nothing_fits(space: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("few.toml").write_text(space)
    assert message in fails(["explore", *GOOD, "-o", "out"], capsys)


def test_the_nearest_miss(capsys: pytest.CaptureFixture[str]) -> None:
    """By how much it misses: what is told comes nearest."""
    space_file(Path("few.toml"), FEW | {"rows": (12, 16), "cols": (16,), "drain": (8,)})
    message = fails(["explore", *GOOD, "-o", "out"], capsys)
    needed = 12 * 16 * 2 + 4 * 6  # of four lanes of the drain: a word of 4 bytes
    assert message.startswith("nmgen: nothing fits ulx3s-85f; the nearest is 12×16, N = 2, M = ")
    assert any(f"{n} multipliers, {n - 156} more than the 156 of ulx3s-85f" in message for n in (needed, needed + 24))


@pytest.mark.parametrize("place", ["file", "file/out", "/proc/nmgen/out"])
def test_a_place_that_cannot_be_written(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("mine")
    assert place in fails(["explore", *GOOD, "-o", place], capsys)
    assert Path("file").read_text() == "mine"


@pytest.mark.parametrize("broken", ["not a database", "folder", "other table", "other rows"])
def test_a_database_that_is_none(broken: str, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    explore(capsys, *GOOD)
    file = Path("out/cycles.db")
    if broken == "not a database":
        file.write_bytes(bytes(range(256)) * 40)
    elif broken == "folder":
        file.unlink()
        file.mkdir()
    else:
        database = sqlite3.connect(file)
        if broken == "other table":
            database.execute("DROP TABLE counted")
            database.execute("CREATE TABLE counted (x INTEGER)")
        else:
            database.execute("UPDATE counted SET found = '{\"x\": 1}'")
        database.commit()
        database.close()
    assert "out/cycles.db" in fails(["explore", *GOOD, "-o", "out"], capsys)


def test_models_of_different_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    """Of other sizes, or of as large but more blocks."""
    write_candidates(Path("deeper"), layers=2)
    for other in ("larger", "deeper"):
        message = fails(["explore", "found", other, *GOOD[1:], "-o", "out"], capsys)
        assert "are models of different shapes, must be candidates of one" in message


def test_groups_of_all_candidates(capsys: pytest.CaptureFixture[str]) -> None:
    """In any order; a dense one has none."""
    write_candidates(Path("wide"), ("8:8", "2:16"))
    Path("space.toml").write_text("rows = 2\ncols = 2\nn = 1\nstore_words = 256\n")
    fronts, models = [], ["wide/8of8.safetensors", "wide/2of16.safetensors"]
    for one in (models, models[::-1]):
        out = f"out{len(fronts)}"
        assert main(["explore", *one, "--seq", "7", "--space", "space.toml", "--jobs", "1", "-o", out]) == 0
        points = json.loads(Path(out, "front.json").read_text())["points"]
        assert {point["configuration"]["m"] for point in points} <= {16, 32}
        fronts.append(sorted(point["cycles"] for point in points))
    assert fronts[0] == fronts[1]
    capsys.readouterr()


def test_an_engine_has_room_for_its_layers_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """However long the sequences."""
    Path("space.toml").write_text("rows = 2\ncols = 2\nn = 1\n")
    for seq in ("7", "300"):
        line = ["explore", "found", "--kind", "engine", "--seq", seq, "--space", "space.toml", "--jobs", "1", "-o", seq]
        assert main(line) == 0
    longest = {
        one["configuration"]["max_k"]
        for seq in ("7", "300")
        for one in json.loads(Path(seq, "front.json").read_text())["points"]
    }
    assert len(longest) == 1
    capsys.readouterr()


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    Path("zero.toml").write_text("rows = 0\n")
    line = ["explore", "found", "--seq", "7,5", "--space", "zero.toml", "--jobs", "1", "-o", "out"]
    assert "rows is 0, must be" in fails(line, capsys)


def test_scores_of_different_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    for number, scores in enumerate(({"cosine": 0.5}, {"mean": 50.0})):
        folder = Path(f"own{number}")
        write_candidates(folder, ["2:8"])
        entry = {"artefact": "2of8.safetensors", "int8": scores}
        (folder / "report.json").write_text(json.dumps({"candidates": [entry]}))
    assert "must be scored alike" in fails(["explore", "own0", "own1", *GOOD[1:], "-o", "out"], capsys)


def test_files_that_are_no_candidates(capsys: pytest.CaptureFixture[str]) -> None:
    def of(name: str) -> str:
        return fails(["explore", name, *GOOD[1:], "-o", "out"], capsys)

    Path("empty").mkdir()
    assert "empty/report.json is missing, which nmgen prune writes" in of("empty")
    assert "report.json is missing" in of("few.toml")
    assert "missing is neither artefact nor folder: of a dense model such as minilm, give --patterns" in of("missing")
    own = write_candidates(Path("own"), ["2:8"])
    (own / "other.safetensors").write_bytes((own / "2of8.safetensors").read_bytes())
    assert "own/report.json has no entry of other.safetensors" in of("own/other.safetensors")
    (own / "2of8.safetensors").write_bytes(b"no artefact")
    assert "2of8.safetensors" in of("own")
    save(own / "2of8.safetensors", [random_layer(1, 6, 20, 2, 8, name="fc")])
    assert "own/2of8.safetensors holds layers alone, must be a whole model" in of("own")
    (own / "2of8.safetensors").unlink()
    assert "own/2of8.safetensors: No such file or directory" in of("own")


REPORTS = [
    "", "{", "[]", "null", "1", '"x"', "{}", '{"candidates": 1}', '{"candidates": []}', '{"candidates": [1]}',
    '{"candidates": [{}]}', '{"candidates": {"artefact": "2of8.safetensors"}}',
    '{"candidates": [{"artefact": 1, "int8": {"cosine": 1}}]}',
    '{"candidates": [{"artefact": "2of8.safetensors"}]}',
    '{"candidates": [{"artefact": "2of8.safetensors", "int8": []}]}',
    '{"candidates": [{"artefact": "2of8.safetensors", "int8": {}}]}',
    '{"candidates": [{"artefact": "2of8.safetensors", "int8": {"cosine": NaN}}]}',
    '{"candidates": [{"artefact": "2of8.safetensors", "int8": {"accuracy": {}}}]}',
    '{"candidates": [{"artefact": "2of8.safetensors", "int8": {"accuracy": []}}]}',
    '{"candidates": [{"artefact": "2of8.safetensors", "int8": {"accuracy": "x"}}]}',
    '{"candidates": [{"artefact": "2of8.safetensors", "int8": {"validation": 1}}]}',
    '{"candidates": [{"artefact": "", "int8": {"cosine": 1}}]}',
    '{"candidates": [{"artefact": "/dev/zero", "int8": {"cosine": 1}}]}',
    '{"candidates": [{"artefact": "../few.toml", "int8": {"cosine": 1}}]}',
    '{"candidates": [{"artefact": "a\\u0000b", "int8": {"cosine": 1}}]}',
]  # fmt: skip
# Scores that are no numbers: nmgen.explore.candidates has to refuse them.
SCORES = [
    f'{{"candidates": [{{"artefact": "2of8.safetensors", "int8": {{"cosine": {score}}}}}]}}'
    for score in ("null", '"x"', "[1]", "{}", '"nan"', '"1"')
]


@pytest.mark.parametrize("text", REPORTS + SCORES)
def test_reports_that_are_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (write_candidates(Path("own"), ["2:8"]) / "report.json").write_text(text)
    fails(["explore", "own", *GOOD[1:], "-o", "out"], capsys)


def test_broken_reports(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes gone, doubled or exchanged: one line, or a search of what is left."""
    own = write_candidates(Path("own"))
    good = (own / "report.json").read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(60):
        bad = bytearray(good)
        for _ in range(rng.choice((1, 1, 3))):
            at = rng.randrange(len(bad))
            bad[at : at + rng.randint(0, 3)] = rng.choice(
                (b"", b'"', b"{", b"[", b"1", b"\xff", b",", bad[at : at + 9])
            )
        (own / "report.json").write_bytes(bytes(bad))
        print(bytes(bad))
        status = main(["explore", "own", *GOOD[1:], "-o", "out"])
        said = capsys.readouterr()
        assert (status, said.err.count("\n")) in ((0, 0), (2, 1))
        refused += status == 2
    assert refused > 20


def test_one_candidate_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """Is not two of one name."""
    assert main(["explore", "found", "found/2of8.safetensors", *GOOD[1:], "-o", "out", "--json"]) in (0, 2)
    said = capsys.readouterr()
    if said.out:
        names = [one["name"] for one in json.loads(said.out)["candidates"]]
        assert len(set(names)) == len(names)


def test_two_folders_of_one_name(capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("a/own", "b/own"):
        write_candidates(Path(folder), ["2:8"])
    assert main(["explore", "a/own", "b/own", *GOOD[1:], "-o", "out", "--json"]) in (0, 2)
    said = capsys.readouterr()
    if said.out:
        names = [one["name"] for one in json.loads(said.out)["candidates"]]
        assert len(set(names)) == len(names)


def test_names_that_are_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    """A byte of a file's name that is none of UTF-8."""
    own = write_candidates(Path("caf\udce9"), ["2:8"])
    entry = {"artefact": "2of8.safetensors", "int8": {"cosine": 1.0}}
    (own / "report.json").write_text(json.dumps({"candidates": [entry]}))
    assert main(["explore", str(own), *GOOD[1:], "-o", "out"]) in (0, 2)
    assert capsys.readouterr().err.count("\n") <= 1
