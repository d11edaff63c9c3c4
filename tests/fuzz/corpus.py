"""Good files of every kind that a command reads, all of them small."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from rtl.sta.params import StaConfig

CONFIG = StaConfig(n=2, m=8, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=16, max_k=64, hidden=16, store_words=128)
FLAGS = [
    word
    for name in ("n", "m", "rows", "cols", "drain", "port_bytes", "max_tokens", "max_k", "hidden", "store_words")
    for word in (f"--{name.replace('_', '-')}", str(getattr(CONFIG, name)))
]
ENGINE = FLAGS[:16]  # without what only STA has
BERT = {"hidden": 16, "heads": 2, "inner": 24, "layers": 1, "positions": 16}
# Two dozen different ones: as many as training and good scales take.
SENTENCES = [f"{one} {other}" for one in ("a fox", "the river", "a line ?", "fox") for other in (
    "crossed the .", "a river", "the line ? a fox", "river the .", "crossed a fox .", ". the line"
)]  # fmt: skip

Tree = dict[str, bytes]  # path within a folder, "" of a file that is none: contents


def make(folder: Path) -> None:
    """Write all of them. It computes with torch: what forks later must not."""
    import torch
    from PIL import Image
    from safetensors.torch import load_file, save_file

    from nmgen.families.bert.compiler import compile_elastic, compile_encoder
    from nmgen.families.vit.compiler import compile_vit
    from pruning.families.bert.export import from_artefact
    from pruning.families.bert.folder import save as save_folder
    from pruning.families.bert.parameters import integer_parameters
    from pruning.families.vit.folder import save as save_vit
    from pruning.families.vit.parameters import vit_parameters
    from pruning.families.vit.shape import ViTShape
    from pruning.files.artefact import save
    from pruning.files.elastic import Elastic
    from pruning.files.elastic import save as save_elastic
    from rtl.params import Config
    from tests.nmgen.encoders import artefact
    from tests.pruning.samples import WORDS, random_layer, random_weights, thinned
    from tests.pruning.vits import random_vit, vit_artefact

    torch.set_num_threads(1)
    folder.mkdir(parents=True)
    shape = ViTShape(image=8, patch=4, hidden=16, layers=1, heads=2, intermediate=24, labels=3)
    sparse, picture = artefact(**BERT, pattern="2:8", classes=3), vit_artefact(shape, "2:8")
    assert sparse.model
    layers = [random_layer(1, 6, 20, 2, 8, name="fc"), random_layer(2, 5, 16, 8, 8, out_bits=16, name="dense")]
    save(folder / "layers.safetensors", layers)
    save(folder / "bert.safetensors", sparse.layers.values(), sparse.model)
    assert picture.model
    save(folder / "vit.safetensors", picture.layers.values(), picture.model)
    save_elastic(folder / "elastic.safetensors", Elastic(densities={f"{n}:8": thinned(sparse, n) for n in (2, 1)}))
    (folder / "explored").mkdir()
    entries = []
    for pattern, score in (("2:8", 0.9), ("4:8", 0.97)):
        candidate = artefact(**BERT, pattern=pattern)
        file = folder / "explored" / f"{pattern.replace(':', 'of')}.safetensors"
        save(file, candidate.layers.values(), candidate.model)
        entries.append({"artefact": file.name, "int8": {"cosine": score}})
    (folder / "explored" / "report.json").write_text(json.dumps({"candidates": entries}))
    # Of an engine and of a core alike.
    (folder / "space.toml").write_text("n = [1, 2]\nm = [4, 8]\nrows = 2\ncols = [2, 4]\ndrain = 2\nport_bytes = 4\n")
    save_folder(from_artefact(artefact(**BERT))[0], folder / "bert")
    save_folder(from_artefact(artefact(**BERT, classes=3))[0], folder / "head")
    save_vit(random_vit(shape), folder / "vit")
    # A folder as old ones are, of words alone.
    save_folder(from_artefact(artefact(**BERT))[0], folder / "words")
    (folder / "words" / "tokenizer.json").unlink(missing_ok=True)
    (folder / "words" / "vocab.txt").write_text("\n".join(WORDS) + "\n")

    # And in two shards.
    save_folder(from_artefact(artefact(**BERT))[0], folder / "shards")
    whole = folder / "shards" / "model.safetensors"
    tensors = load_file(whole)
    parts = {f"model-{i}-of-2.safetensors": dict(sorted(tensors.items())[i - 1 :: 2]) for i in (1, 2)}
    for name, part in parts.items():
        save_file(part, folder / "shards" / name, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: name for name, part in parts.items() for key in part}}
    whole.with_name("model.safetensors.index.json").write_text(json.dumps(index))
    whole.unlink()

    text = compile_encoder(integer_parameters(sparse), CONFIG, [7, 5], dict(sparse.model.about))
    replace(text, tokenizer=sparse.model.tokenizer).save(folder / "text.nmp")
    lengths = compile_encoder(integer_parameters(sparse), CONFIG, [8], dict(sparse.model.about), [[4], [2]])
    lengths.each_with(tokenizer=sparse.model.tokenizer).save(folder / "lengths.nmp")
    several = {f"{n}:8": thinned(sparse, n) for n in (2, 1)}
    parameters = {name: integer_parameters(one) for name, one in several.items()}
    abouts = {name: dict(one.whole.about) for name, one in several.items()}
    elastic = compile_elastic(parameters, replace(CONFIG, n=1), [8], abouts, [[4]])
    elastic.each_with(tokenizer=sparse.model.tokenizer).save(folder / "elastic.nmp")
    about = {**picture.model.about, "classes": ["one", "two", "three"]}
    compile_vit(vit_parameters(picture), CONFIG, 2, about).save(folder / "vit.nmp")

    rng = np.random.default_rng(1)
    for name, array in {
        "weights": random_weights(1, 6, 20, 2, 8),
        "bias": rng.integers(-1000, 1000, 6).astype(np.int32),
        "mult": rng.integers(0, 1 << 16, 6).astype(np.uint16),
        "shift": rng.integers(1, 48, 6).astype(np.uint8),
        "x": rng.integers(-128, 128, (5, 20)).astype(np.int8),
        "pictures": rng.integers(0, 256, (2, 1, 8, 8)).astype(np.uint8),
    }.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "ids.json").write_text("[[1, 5, 6, 2], [1, 7, 2]]")
    (folder / "config.toml").write_text("n = 2\nm = 8\nrows = 2\ncols = 2\nmax_tokens = 16\nmax_k = 64\n")
    dense = "encoder.layer.0.output.dense"
    (folder / "plan.toml").write_text(f'[layers]\n"{dense}" = "2:8"\n"encoder.layer.0.intermediate.dense" = "4:8"\n')
    (folder / "text.txt").write_text("\n".join(SENTENCES) + "\n")
    (folder / "sts.tsv").write_text("".join(f"{i % 6}\t{SENTENCES[i]}\t{SENTENCES[2 * i]}\n" for i in range(12)))
    (folder / "labels").mkdir()
    for part in ("train", "dev", "test"):
        rows = [f"{i % 3} {SENTENCES[i]}" for i in range(20)]
        (folder / "labels" / f"{part}.txt").write_text("\n".join(rows) + "\n")
    (folder / "mnist").mkdir()
    for part in ("train", "t10k"):
        pixels = rng.integers(0, 256, (12, 8, 8)).astype(np.uint8)
        for what, array in (("images-idx3", pixels), ("labels-idx1", np.arange(12, dtype=np.uint8) % 3)):
            head = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            data = gzip.compress(head + array.tobytes(), mtime=0)
            (folder / "mnist" / f"{part}-{what}-ubyte.gz").write_bytes(data)
    (folder / "picture.pgm").write_bytes(b"P5\n8 8\n255\n" + bytes(range(64)))
    Image.fromarray(rng.integers(0, 256, (8, 8)).astype(np.uint8)).save(folder / "picture.png")
    engine = Config(**{name: getattr(CONFIG, name) for name in Config.__dataclass_fields__})
    for name, config in (("rtl", engine), ("rtl-sta", CONFIG)):  # nothing is built of them
        kind = name.partition("-")[2] or "engine"
        manifest = {"kind": kind, "top": "nmgen_top", "parameters": asdict(config), "files": {"nmgen_top.v": "00"}}
        (folder / name).mkdir()
        (folder / name / "manifest.json").write_text(json.dumps(manifest, indent=2))
        (folder / name / "nmgen_top.v").write_text("module nmgen_top; endmodule\n")


def read(folder: Path) -> dict[str, Tree]:
    """All of them by name."""
    return {
        top.name: {path.relative_to(top).as_posix() if path != top else "": path.read_bytes() for path in _files(top)}
        for top in sorted(folder.iterdir())
    }


def _files(top: Path) -> Iterator[Path]:
    return (path for path in sorted(top.rglob("*")) if path.is_file()) if top.is_dir() else iter([top])
