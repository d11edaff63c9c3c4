"""A family is two folders and a line in a table: what is asked of one, and that nothing else knows which there are."""

import ast
import inspect
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nmgen.families
import pruning.families
from nmgen.cli import main
from nmgen.families.interface import Family
from pruning.families import interface as pruning_interface
from pruning.families.bert.folder import shape_of
from pruning.families.bert.model import Encoder, Origin
from pruning.families.known import FAMILIES, family_of, family_of_config
from pruning.files.artefact import read
from pruning.files.tokenizer import open_words
from rtl.params import InputError
from tests.nmgen.test_cli import fails
from tests.pruning.samples import WORDS

ROOT = Path(__file__).parents[3]
THIRD = Path(__file__).with_name("third")
# What measures a model that it names, and the table.
NAMED = ("nmgen/bench/", "pruning/families/known.py")


# --- the two that there are ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("half", "interface"), [("pruning.families", pruning_interface.Family), ("nmgen.families", Family)]
)
def test_a_family_has_what_is_asked_of_it(name: str, half: str, interface: type) -> None:
    """Each function by its name, with parameters of the same names in the same order."""
    module = import_module(f"{half}.{name}.family")
    for wanted in interface.__annotations__:
        assert hasattr(module, wanted), wanted
    functions = {key: value for key, value in vars(interface).items() if isinstance(value, staticmethod)}
    assert len(functions) >= 8
    for key, value in functions.items():
        found, asked = (list(inspect.signature(one).parameters.values()) for one in (getattr(module, key), value))
        # An underscore before a name says that this family has no use for it.
        assert [one.name.removeprefix("_") for one in found[: len(asked)]] == [one.name for one in asked], key
        assert all(one.kind is one.KEYWORD_ONLY for one in found[len(asked) :]), key


def test_types_are_of_one_family() -> None:
    types = [one for family in FAMILIES.values() for one in family]
    assert len(set(types)) == len(types)
    for name, family in FAMILIES.items():
        for one in family:
            assert family_of_config({"model_type": one}, "config.json") == name


@pytest.mark.parametrize("found", ["t5", None, ["bert"], {}, 3])
def test_an_unknown_type_is_told_which_are_known(found: Any) -> None:
    with pytest.raises(InputError) as error:
        family_of_config({"model_type": found}, "config.json")
    known = "bert, roberta, xlm-roberta, camembert, distilbert, vit"
    assert str(error.value) == f"config.json: model_type is {found!r}, must be one of {known}"


def sources() -> Iterator[Path]:
    for package in ("pruning", "nmgen"):
        for path in sorted((ROOT / package).rglob("*.py")):
            own = str(path.relative_to(ROOT))
            folders = tuple(f"{half}/families/{name}/" for half in ("pruning", "nmgen") for name in FAMILIES)
            if not own.startswith((*NAMED, *folders)):
                yield path


def test_nothing_outside_the_folders_knows_a_family() -> None:
    """No import of what is in their folders, no name and no text that is a family's."""
    checked = 0
    for path in sources():
        where = path.relative_to(ROOT)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                parts = node.module.split(".")
                parts += [alias.name for alias in node.names]
                assert parts[1] != "families" or not set(parts) & set(FAMILIES), f"{where}: {parts}"
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in FAMILIES, f"{where}:{node.lineno}: {node.value!r}"
            name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None)
            if isinstance(name, str) and name != "BertWordPieceTokenizer":  # a library's
                words = name.lower().split("_")
                assert not set(words) & set(FAMILIES), f"{where}: {name}"
                assert not any(word.startswith(tuple(FAMILIES)) for word in words), f"{where}: {name}"
            checked += 1
    assert checked > 10_000


# --- a third ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A family of two folders and a line; a model of it in the folder tiny/, text beside it."""
    for package, folder in ((pruning.families, "prunes"), (nmgen.families, "compiles")):
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(THIRD / folder)])
    monkeypatch.setitem(FAMILIES, "tiny", ("tiny-text",))
    monkeypatch.chdir(tmp_path)
    tiny = import_module("pruning.families.tiny.family")
    config = {"model_type": "tiny-text", "width": 16, "depth": 1, "words": len(WORDS)}
    Path("words.txt").write_text("\n".join(WORDS) + "\n")
    tokenizer = open_words(Path("words.txt"), "no tokenizer", 16, lowercase=True)
    torch.manual_seed(0)
    Path("tiny").mkdir()
    shape = shape_of(tiny.as_bert(config), "config.json")
    tiny.save(Encoder(shape, tokenizer, Origin(config=config)), Path("tiny"))
    rng = np.random.default_rng(0)
    rows = [" ".join(rng.choice(WORDS[5:], int(rng.integers(2, 9)))) for _ in range(60)]
    Path("text.txt").write_text("".join(f"{row} .\n" for row in rows))
    Path("pairs.tsv").write_text("".join(f"{i % 6}\t{rows[i]}\t{rows[i + 20]}\n" for i in range(20)))
    return tmp_path


FLAGS = ["--preset", "small", "--m", "8", "--max-tokens", "32", "--hidden", "24"]


@pytest.mark.usefixtures("tiny")
def test_a_third_family_goes_through_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Opened, trained, calibrated, exported, scored and compiled; nothing but its folders knows it."""
    train = ["--data", "text.txt", "--steps", "2", "--batch", "16", "--sts", "pairs.tsv"]
    assert main(["prune", "tiny", "--patterns", "2:8", *train, "-o", "out", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["candidates"]
    assert entry["float"].keys() == {"validation", "sts", "mean"}
    assert read("out/2of8.safetensors").whole.config["width"] == 16
    assert family_of("out/2of8") == family_of("out/2of8.safetensors") == "tiny"
    assert main(["evaluate", "out/2of8.safetensors", "--sts", "pairs.tsv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["int8"]["mean"] == entry["int8"]["mean"]
    assert main(["compile", "out/2of8.safetensors", "--seq", "6", *FLAGS, "-o", "P.nmp"]) == 0
    assert main(["compile", "tiny", "--pattern", "1:4", "--seq", "6", *FLAGS, "-o", "Q.nmp"]) == 0
    capsys.readouterr()
    for budget in ("40k", "30k"):
        assert main(["prune", "tiny", "--budget", budget, "--seq", "6", *FLAGS, "-o", budget, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["budgets"][0]["cycles"] <= int(budget[:-1]) * 1000


@pytest.mark.usefixtures("tiny")
def test_what_a_third_family_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    """Its title and its type are in the messages."""
    flags = ["--patterns", "2:8", "--data", "text.txt", "--steps", "2", "-o", "x"]
    assert "tiny is a tiny one: it takes no --qat" in fails(["prune", "tiny", *flags, "--qat", "2"], capsys)
    Path("tiny/config.json").write_text('{"model_type": "t5"}')
    assert "distilbert, vit, tiny-text" in fails(["compile", "tiny", *FLAGS, "--seq", "6", "-o", "P.nmp"], capsys)
