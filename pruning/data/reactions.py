"""A BERT that reads chemical reactions, and labelled reactions, from two packages of PyPI (171 MB, once).

The model is one of rxnfp's (Schwaller et al., *Mapping the space of chemical reactions using attention-based neural
networks*, 2021; MIT licence): 12 blocks, hidden size 256, four heads. It reads SMILES, and was trained by its authors
to tell 50 classes of reactions apart. The reactions are Schneider's 50,000 from US patents, with these classes, in the
source distribution of drfp (MIT licence); the model has seen the 10,000 of the split train, not the others.

    python -m pruning.data.reactions build/reactions

writes model/, a Hugging Face folder, and text/, labelled text for `nmgen prune --classify`. Packages are pinned by
hash. No code of theirs runs, but for what pip does to look at a source distribution; torch reads the weights as tensors
alone.
"""

import csv
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pruning.encoder.spread import spread
from pruning.files.script import script
from pruning.files.writing import writing
from rtl.params import InputError

PACKAGES = (
    "rxnfp==0.1.0 --hash=sha256:c5c1e818add6f34539a6b29bc680c47c9e7311e9383d1b34ce901481e34b58cf",
    "drfp==0.3.7 --hash=sha256:be841e38316e8f5d42325d706941979288911cf4b701a904db555a4e95977af7",
)
MODEL = "rxnfp/models/transformers/bert_ft_10k_25s"  # in the wheel of rxnfp
REACTIONS = "data/schneider50k.tsv"  # in drfp's source distribution
ROWS = {"train": 3000, "test": 1000}  # of 10,000 and 40,000, evenly from first to last

# The tokens of a SMILES (Schwaller et al., Molecular Transformer, 2019): an atom in brackets or one of the common
# elements, a bond, a branch, a ring closure, a dot between molecules, the arrow.
TOKEN = (
    r"%\([0-9]{3}\)|\[[^\]]+\]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\||\(|\)|\.|=|#|-|\+|\\|/|:|~|@|\?|>>?|\*|\$|%[0-9]{2}"
    r"|[0-9]"
)


def tokenizer_of(words: Sequence[str]) -> str:
    """tokenizer.json of a model with these tokens, by their ids: [CLS], a SMILES, [SEP]; what is no SMILES is left
    out."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from tokenizers.processors import TemplateProcessing

    ids = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Split(Regex(TOKEN), behavior="removed", invert=True)
    special = [(word, ids[word]) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    text: str = tokenizer.to_str()
    return text


def write_model(wheel: Path, folder: Path) -> None:
    """The model in a wheel of rxnfp, as a Hugging Face folder."""
    import torch
    from safetensors.torch import save

    with zipfile.ZipFile(wheel) as packed:
        config = json.loads(packed.read(f"{MODEL}/config.json"))
        words = packed.read(f"{MODEL}/vocab.txt").decode().splitlines()
        pickled = io.BytesIO(packed.read(f"{MODEL}/pytorch_model.bin"))
    tensors = torch.load(pickled, map_location="cpu", weights_only=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer_of(words), encoding="utf-8")
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    (folder / "model.safetensors").write_bytes(save(whole, {"format": "pt"}))


def write_text(packed: Path, folder: Path, rows: Mapping[str, int] = ROWS) -> None:
    """train.txt and test.txt of drfp's source distribution, as many rows of each, and classes.json, their names."""
    with tarfile.open(packed) as archive:
        (member,) = [one for one in archive.getmembers() if one.name.partition("/")[2] == REACTIONS]
        file = archive.extractfile(member)
        assert file is not None
        found = list(csv.DictReader(io.TextIOWrapper(file, "utf-8"), delimiter="\t"))
    classes = sorted({row["rxn_class"] for row in found}, key=lambda name: [int(part) for part in name.split(".")])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.json").write_text(json.dumps(classes) + "\n", encoding="utf-8")
    for split, count in rows.items():
        every = [row for row in found if row["split"] == split]
        lines = [f"{classes.index(every[i]['rxn_class'])} {every[i]['rxn']}\n" for i in spread(len(every), count)]
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")


def write(folder: Path) -> None:
    """model/ and text/ in a folder.

    Raises
    ------
    InputError : the packages cannot be had, or folder cannot be written to.
    """
    with writing(folder), TemporaryDirectory() as scratch:
        asked = Path(scratch) / "packages.txt"
        asked.write_text("\n".join(PACKAGES) + "\n", encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        done = subprocess.run([*pip, "-d", scratch, "-r", str(asked)], capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise InputError(f"pip cannot download rxnfp and drfp: {said[-1] if said else done.returncode}")
        write_model(next(Path(scratch).glob("rxnfp-*.whl")), folder / "model")
        write_text(next(Path(scratch).glob("drfp-*.tar.gz")), folder / "text")


if __name__ == "__main__":
    script(
        "pruning.data.reactions",
        "Fetch a BERT of chemistry and labelled reactions from PyPI.",
        "build/reactions",
        write,
    )
