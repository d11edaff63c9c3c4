"""The integer encoder: its arithmetic against the twins of the hardware, and a whole model against the definitions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pruning.data.text import read_sentences
from pruning.encoder import integer
from pruning.encoder.batches import padded
from pruning.encoder.integer import Step, bit_length, divided, normalised, product, requantise, softmax
from pruning.encoder.parameters import EXP_ONE, Z_FRACTION, BlockParameters, Factor, Norm, exponential, pool_factor
from pruning.families.bert.calibrate import calibrate, compensated, rescaled
from pruning.families.bert.export import from_artefact, to_artefact
from pruning.families.bert.folder import load
from pruning.families.bert.integer import IntegerEncoder
from pruning.families.bert.model import Encoder
from pruning.families.bert.parameters import IntegerParameters, integer_parameters
from pruning.files.artefact import Artefact, Layer
from pruning.files.folders import packaged_minilm
from pruning.integers.layer import golden
from pruning.integers.rescale import RESCALE_MAX, RESCALE_SHIFT_MAX, Rescale, representable, represented, rescale
from pruning.masks.sparsify import finalize, sparsify
from rtl.params import InputError
from rtl.sta import isa, params
from rtl.sta.operands import softmax as softmax_twin
from rtl.sta.results import layer_norm as norm_twin
from rtl.sta.results.requantise import requantise as requantise_twin
from rtl.sta.results.rescale import rescale as rescale_twin
from tests.pruning.samples import random_layer, write_model

TEXT = ["a fox crossed the river .", "the line ?", "a river crossed a line .", "fox"]


@pytest.fixture
def small(tmp_path: Path) -> Encoder:
    encoder = load(write_model(tmp_path / "small"))
    encoder.head = nn.Linear(24, 3)
    return encoder


def whole(encoder: Encoder) -> Artefact:
    return to_artefact(encoder, {}, calibrate(encoder, TEXT))


# --- arithmetic against the twins ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16])
def test_requantise_equals_its_twin(bits: int) -> None:
    rng = np.random.default_rng(bits)
    extremes = np.array([-(1 << 31), (1 << 31) - 1, -1, 0, 1])
    for _ in range(40):
        acc = np.concatenate([rng.integers(-(1 << 31), 1 << 31, 40), rng.integers(-999, 1000, 40), extremes])
        bias = int(rng.choice([0, *extremes, *rng.integers(-99, 99, 5)]))
        mult, shift = int(rng.choice([0, 1, 32768, 65535])), int(rng.integers(1, 48))
        negate = int(rng.integers(2))
        y = requantise(torch.tensor((1 - 2 * negate) * acc).double(), bias, mult * 2.0**-shift, bits)
        expected = [requantise_twin(int(a), bias, mult, shift, negate, bits) for a in acc]
        assert y.tolist() == expected, (bias, mult, shift)


@pytest.mark.parametrize(("k", "largest"), [(3000, (-128, -127)), (2048, (-128, -128)), (1100, (255, -128))])
def test_products_are_exact_where_float32_alone_is_not(k: int, largest: tuple[int, int]) -> None:
    x, y = torch.full((2, k), float(largest[0])), torch.full((k, 3), float(largest[1]))
    x[0, -1] = y[-1, 0] = 1
    expected = x.to(torch.int64) @ y.to(torch.int64)
    assert int(expected.abs().max()) > 1 << 24
    assert torch.equal(product(x, y, abs(largest[0] * largest[1])).to(torch.int64), expected)


@pytest.mark.parametrize(("channels", "k", "out_bits"), [(1, 8, 8), (7, 40, 16), (33, 1600, 8)])
def test_a_layer_equals_the_golden_one(channels: int, k: int, out_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As this hardware computes it, and as one without products of int8 does."""
    layer = random_layer(k, channels, k, 4, 8, out_bits)
    kinds = [integer.IntegerLinear(layer)]
    monkeypatch.setattr(integer, "multiplies_int8", lambda: False)
    kinds.append(integer.IntegerLinear(layer))
    rng = np.random.default_rng(k)
    for shape in ((k,), (1, k), (5, k), (3, 37, k)):
        x = rng.integers(-128, 128, shape, np.int8)
        x.reshape(-1)[: k // 2] = -128
        expected = golden(layer, x.reshape(-1, k)).reshape(*shape[:-1], channels)
        for linear in kinds:
            np.testing.assert_array_equal(linear(torch.from_numpy(x).float()).numpy(), expected)


def rows(hidden: int) -> list[np.ndarray]:
    rng = np.random.default_rng(hidden)
    spike = np.zeros(hidden, np.int64)
    spike[0] = 32767
    near = np.full(hidden, -32768)
    near[-1] = -32767
    return [
        *(rng.integers(-top - 1, top + 1, hidden) for top in (0, 1, 7, 100, 3000, 32767)),
        *(np.full(hidden, value) for value in (-32768, 0, 1, 32767)),
        np.where(np.arange(hidden) % 2, 32767, -32768),
        spike,
        near,
    ]


@pytest.mark.parametrize("hidden", [1, 2, 7, 24, 384, 768, 4096])
@pytest.mark.parametrize("epsilon", [0, 1, 147456, (1 << 32) - 1])
def test_normalised_equals_its_twin(hidden: int, epsilon: int) -> None:
    all_rows = rows(hidden)
    z = normalised(torch.tensor(np.stack(all_rows)).double(), epsilon)
    for row, found in zip(all_rows, z, strict=True):
        elements = [int(r) for r in row[:64]]  # the others are like these
        S, R, e = norm_twin.reciprocal_square_root(*norm_twin.statistics(int(r) for r in row), hidden, epsilon)
        assert found[:64].tolist() == [norm_twin.normalise(r, S, R, e, hidden) for r in elements], (row, S, R, e)


@pytest.mark.parametrize("scale", [0.001, 0.04, 0.3, 5.0])
@pytest.mark.parametrize("keys", [1, 2, 33, 128, 512])
def test_softmax_equals_its_twin(scale: float, keys: int) -> None:
    rng = np.random.default_rng(keys)
    table, tokens = exponential(scale), 9
    scores = rng.integers(-128, 128, (tokens, keys))
    scores[0], scores[1] = -128, 127
    scores[2] = -100
    scores[2, 0] = 127
    acc = rng.integers(-255 * 128 * keys, 255 * 127 * keys + 1, (tokens, 4))
    emitted = softmax(torch.tensor(scores).double(), torch.from_numpy(table.astype(np.int32)), None)
    context = Factor(48545, 14)
    y = divided(torch.tensor(acc).double(), emitted.sum(dim=-1, keepdim=True), context)
    for token in range(tokens):
        expected = softmax_twin.emit([int(s) for s in scores[token]], keys, [int(entry) for entry in table])
        assert emitted[token].tolist() == expected
        q, shift = softmax_twin.reciprocal(sum(expected), context.mult, context.shift, (255 * 512).bit_length())
        assert y[token].tolist() == [requantise_twin(int(a), 0, q, shift, 0, 8) for a in acc[token]]


@pytest.mark.parametrize("mult", [32768, 48545, 65535])
def test_every_sum_of_a_row_is_divided_as_by_its_twin(mult: int) -> None:
    totals = [*range(1, 3000), *range(30000, 30100), *(255 * tokens for tokens in range(1, 513)), 1 << 16, 1 << 24]
    acc = 77777
    y = divided(torch.full((len(totals), 1), acc).double(), torch.tensor(totals)[:, None], Factor(mult, 13))
    for total, found in zip(totals, y.flatten().tolist(), strict=True):
        q, shift = softmax_twin.reciprocal(total, mult, 13, 30)
        assert found == requantise_twin(acc, 0, q, shift, 0, 8), total


def test_bit_length() -> None:
    values = [0, 1, 2, 3, 255, 256, (1 << 40) - 1, 1 << 40, (1 << 54) - 1, 1 << 54, (1 << 62) - 1]
    assert bit_length(torch.tensor(values)).tolist() == [value.bit_length() for value in values]


def test_the_constants_are_the_hardwares() -> None:
    assert (EXP_ONE, Z_FRACTION) == (params.EXP_ONE, params.Z_FRACTION)
    assert (1 << params.RESCALE_BITS) - 1 == RESCALE_MAX
    assert (1 << isa.FIELDS["rescale_shift"].bits) - 1 == RESCALE_SHIFT_MAX
    for scale in (0.01, 0.33, 4.0):
        assert exponential(scale).tolist() == softmax_twin.exponential_table(scale)


# --- a whole model, by the definitions in Python's integers ----------------------------------------------------------

Rows = list[list[int]]
Found = list[tuple[str, Rows | None, Rows | None]]


class Definition:
    """The instructions of one sentence, an integer at a time."""

    def __init__(self, p: IntegerParameters) -> None:
        self.p, self.found = p, list[tuple[str, Rows | None, Rows | None]]()

    def run(self, ids: list[int]) -> Found:
        p = self.p
        self.residual = [[int(x) for x in p.words[i]] for i in ids]
        self.note("embeddings.word_embeddings", None, self.residual)
        self.add([[int(x) for x in p.positions[t]] for t in range(len(ids))], "embeddings.position_embeddings")
        x = self.norm(p.norm)
        for block in p.blocks:
            x = self.block(x, block)
        mean = pool_factor(len(ids))
        pooled = [requantise_twin(sum(c), 0, mean.mult, mean.shift, 0, 16) for c in zip(*self.residual, strict=True)]
        self.residual = [pooled]
        self.note("pool", None, [pooled])
        if p.head:
            self.norm(p.head.norm)
            name, operand, _ = self.found.pop()
            assert operand
            self.note(name, operand, None)
            self.note(p.head.layer.name, None, self.linear(operand, p.head.layer))
        return self.found

    def note(self, name: str, store: Rows | None, residual: Rows | None) -> None:
        self.found.append((name, store, residual))

    def add(self, what: Rows, name: str) -> None:
        self.residual = [
            [max(-32768, min(32767, a + b)) for a, b in zip(*both, strict=True)]
            for both in zip(self.residual, what, strict=True)
        ]
        self.note(name, None, self.residual)

    def linear(self, x: Rows, layer: Layer) -> Rows:
        def channel(row: list[int], c: int) -> int:
            acc = sum(int(w) * a for w, a in zip(layer.weights[c], row, strict=True))
            return requantise_twin(acc, int(layer.bias[c]), int(layer.mult[c]), int(layer.shift[c]), 0, layer.out_bits)

        return [[channel(row, c) for c in range(layer.channels)] for row in x]

    def rescaled(self, y: Rows, by: Rescale) -> Rows:
        return [[rescale_twin(v, int(f), by.shift) for v, f in zip(row, by.factors, strict=True)] for row in y]

    def norm(self, norm: Norm) -> Rows:
        hidden, rows = len(norm.mult), []
        for row in self.residual:
            S, R, e = norm_twin.reciprocal_square_root(*norm_twin.statistics(row), hidden, norm.epsilon)
            z = [norm_twin.normalise(r, S, R, e, hidden) for r in row] if norm.normalise else row
            parts = zip(z, norm.bias, norm.mult, norm.shift, norm.negate, strict=True)
            rows.append([requantise_twin(a, int(b), int(m), int(s), int(n), 16) for a, b, m, s, n in parts])
        self.residual = rows
        store = self.rescaled(rows, norm.operand) if norm.operand else None
        self.note(norm.name, store, rows)
        return store or []

    def block(self, x: Rows, block: BlockParameters) -> Rows:
        parts = []
        for layer in (block.query, block.key, block.value):
            parts.append(self.linear(x, layer))
            self.note(layer.name, parts[-1], None)
        size = self.p.shape.hidden // self.p.shape.heads
        contexts = []
        for head in range(self.p.shape.heads):
            q, k, v = ([row[head * size : (head + 1) * size] for row in part] for part in parts)
            dots = [[sum(a * b for a, b in zip(one, key, strict=True)) for key in k] for one in q]
            mult, shift = block.scores.mult, block.scores.shift
            scores = [[requantise_twin(acc, 0, mult, shift, 0, 8) for acc in row] for row in dots]
            self.note(f"{block.name}.attention.self.scores.{head}", scores, None)
            contexts.append([self.context(row, v, block) for row in scores])
            self.note(f"{block.name}.attention.self.context.{head}", contexts[-1], None)
        context = [[y for head in heads for y in head] for heads in zip(*contexts, strict=True)]
        self.add(self.linear(context, block.attention_output), block.attention_output.name)
        indices = self.linear(self.norm(block.attention_norm), block.intermediate)
        inner = self.rescaled([[int(block.table[y & 255]) for y in row] for row in indices], block.table_rescale)
        self.note(block.intermediate.name, inner, None)
        self.add(self.linear(inner, block.output), block.output.name)
        return self.norm(block.output_norm)

    def context(self, scores: list[int], v: Rows, block: BlockParameters) -> list[int]:
        emitted = softmax_twin.emit(scores, len(scores), [int(entry) for entry in block.exponential])
        mult, shift = softmax_twin.reciprocal(sum(emitted), block.context.mult, block.context.shift, 20)
        sums = (sum(p * value for p, value in zip(emitted, column, strict=True)) for column in zip(*v, strict=True))
        return [requantise_twin(acc, 0, mult, shift, 0, 8) for acc in sums]


def listed(steps: list[Step]) -> Found:
    def rows_of(tensor: Tensor | None) -> Rows | None:
        return None if tensor is None else tensor.tolist()

    return [(step.name, rows_of(step.store), rows_of(step.residual)) for step in steps]


@pytest.mark.parametrize("text", [TEXT[0], TEXT[3]])
def test_every_instruction_is_as_defined(text: str, small: Encoder) -> None:
    encoder = IntegerEncoder(whole(small))
    ids = encoder.ids(text)
    found, expected = listed(encoder.steps(ids)), Definition(encoder.parameters).run(ids.tolist())
    assert [name for name, *_ in found] == [name for name, *_ in expected]
    for one, other in zip(found, expected, strict=True):
        assert one == other, one[0]


def test_every_instruction_is_as_defined_where_it_saturates(small: Encoder) -> None:
    scales = calibrate(small, TEXT)
    for points, finer in (((".residual", ".total"), 64), ((".operand", ".v"), 2)):
        scales |= {name: scale / finer for name, scale in scales.items() if name.endswith(points)}
    encoder = IntegerEncoder(to_artefact(small, {}, scales))
    ids = encoder.ids(TEXT[2])
    steps = encoder.steps(ids)
    found = listed(steps)
    for one, other in zip(found, Definition(encoder.parameters).run(ids.tolist()), strict=True):
        assert one == other, one[0]
    for kind in ("output.dense", "output.LayerNorm", "value", "context.1"):
        tensors = [part for step in steps if step.name.endswith(kind) for part in (step.store, step.residual)]
        assert any(bool((part == torch.iinfo(part.dtype).max).any()) for part in tensors if part is not None), kind


def test_one_without_a_head_ends_with_the_mean(small: Encoder) -> None:
    small.head = None
    encoder = IntegerEncoder(whole(small))
    ids = encoder.ids(TEXT[0])
    steps = encoder.steps(ids)
    assert (steps[-1].name, encoder.classes) == ("pool", 0)
    assert torch.equal(steps[-1].residual[0], encoder.means(ids))
    with pytest.raises(InputError, match="the model has no head"):
        encoder.logits(ids)


# --- sentences ------------------------------------------------------------------------------------------------------


def test_a_batch_gives_what_each_sentence_gives_alone(small: Encoder) -> None:
    encoder = IntegerEncoder(whole(small))
    ids = [encoder.ids(text) for text in TEXT]
    batch, mask = padded(ids)
    assert torch.equal(encoder.means(batch, mask), torch.stack([encoder.means(one) for one in ids]))
    assert torch.equal(encoder.logits(batch, mask), torch.stack([encoder.logits(one) for one in ids]))
    assert torch.equal(encoder.embed(TEXT), torch.cat([encoder.embed([text]) for text in TEXT]))


@pytest.mark.parametrize("pattern", [None, "2:8"])
def test_it_is_near_the_float_of_its_artefact(pattern: str | None, small: Encoder) -> None:
    """A model of 24 random channels, whose attention is all or nothing: MiniLM is nearer by far."""
    if pattern:
        sparsify(small, pattern, ragged="pad")
    artefact = whole(small)
    exact, integer = from_artefact(artefact)[0], IntegerEncoder(artefact)
    assert ((exact.embed(TEXT) * integer.embed(TEXT)).sum(dim=1) > 0.95).all()
    batch = padded([integer.ids(text) for text in TEXT])
    with torch.inference_mode():
        torch.testing.assert_close(integer.logits(*batch), exact.logits(*batch), atol=0.15, rtol=0)


def test_the_head_is_near_float_whatever_the_last_norm_scales_its_channels_with(small: Encoder) -> None:
    """A channel that is hardly anything does not take the digits of the others."""
    norm = small.encoder.layer[-1].output.LayerNorm
    with torch.no_grad():
        norm.weight[:3], norm.bias[:3] = torch.tensor([0.0, 1e-6, 3.0]), torch.tensor([0.0, 0.0, -2.0])
    encoder = IntegerEncoder(whole(small))
    batch = padded([encoder.ids(text) for text in TEXT])
    with torch.inference_mode():
        exact = small.classify(encoder.means(*batch).float() * encoder.parameters.scale)
        torch.testing.assert_close(encoder.logits(*batch), exact, atol=0.03, rtol=0)


def test_minilm_is_near_float() -> None:
    encoder, sentences = load(packaged_minilm()), read_sentences()
    integer = IntegerEncoder(to_artefact(encoder, {}, calibrate(encoder, sentences)))
    cosines = (integer.embed(sentences) * encoder.embed(sentences)).sum(dim=1)
    assert cosines.mean() > 0.993
    assert cosines.min() > 0.98


def test_minilm_pruned_is_nearer_with_biases_for_int8() -> None:
    """On other text than what these are made of, a third of the distance is gone."""
    encoder, sentences = load(packaged_minilm()), read_sentences()
    sparsify(encoder, "2:8", filter_fn=lambda _, name: name in encoder.linears())
    finalize(encoder)
    own, others = sentences[::2], sentences[1::2]
    scales, exact = calibrate(encoder, own), encoder.embed(others)
    plain, near = (
        1 - (IntegerEncoder(to_artefact(one, {}, scales)).embed(others) * exact).sum(dim=1).mean()
        for one in (encoder, compensated(encoder, scales, own))
    )
    assert near < 0.67 * plain


def test_more_tokens_than_positions(small: Encoder) -> None:
    encoder = IntegerEncoder(whole(small))
    with pytest.raises(InputError, match="a sentence has 17 tokens, must have at most 16"):
        encoder.means(torch.zeros(17, dtype=torch.int64))


# --- parameters -----------------------------------------------------------------------------------------------------


def test_norms_hold_any_gamma_and_beta(small: Encoder) -> None:
    """Negative, none, tiny beside a large beta: y is gamma · z + beta to 16 bits, but where beta is 2^14 gammas."""
    gamma = torch.tensor([1.5, -0.75, 0.0, 0.0, 1e-6, -1e-30])
    beta = torch.tensor([0.25, -0.5, 0.0, 1.0, 1.0, -1.0])
    with torch.no_grad():
        small.embeddings.LayerNorm.weight[:6], small.embeddings.LayerNorm.bias[:6] = gamma, beta
    artefact = whole(small)
    assert artefact.model
    scale = float(artefact.model.tensors["scales.embeddings.residual"])
    norm = integer_parameters(artefact).norm
    assert norm.negate[:6].tolist() == [0, 1, 0, 0, 0, 1]
    for z in (-3.0, -0.1, 0.0, 2.0):
        for c in range(6):
            acc = round(z * (1 << Z_FRACTION))
            parameters = (part[c].item() for part in (norm.bias, norm.mult, norm.shift, norm.negate))
            y = requantise_twin(acc, *parameters, 16)
            assert y == pytest.approx(
                (float(gamma[c]) * z + float(beta[c])) / scale, abs=0.51 + 3 * 2**-14 / scale * (c > 2)
            )


def test_scores_are_divided_by_the_root_of_a_heads_channels(small: Encoder) -> None:
    artefact, heads = whole(small), small.shape.heads
    assert artefact.model
    assert heads > 1
    names = (f"scales.encoder.layer.1.attention.self.{point}" for point in ("q", "k", "scores"))
    q, k, scores = (float(artefact.model.tensors[name]) for name in names)
    found = integer_parameters(artefact).blocks[1].scores
    assert found.mult * 2.0**-found.shift == pytest.approx(q * k / (24 / heads) ** 0.5 / scores, rel=2**-15)


def test_what_a_token_gets_by_its_place(small: Encoder) -> None:
    """Its position, from the first that the model counts, and the first of the token types."""
    artefact = whole(small)
    assert artefact.model
    names = (f"embeddings.{part}_embeddings.weight" for part in ("position", "token_type"))
    positions, types = (artefact.model.tensors[name].astype(np.int64) for name in names)
    assert (types[0] != types[-1]).any()
    assert np.array_equal(integer_parameters(artefact).positions, positions[small.shape.first_position :] + types[0])


def test_rescale_takes_the_nearest_factors() -> None:
    wide, narrow = 1e-3, np.array([0.04, 0.01, 0.6, 99.0])
    found = rescale(wide, narrow)
    assert (found.factors.tolist(), found.shift) == ([102, 410, 7, 1], 12)
    assert represented(wide, found)[:3] == pytest.approx(narrow[:3], rel=0.5 / 7)
    again = rescale(wide, represented(wide, found))
    assert (again.factors.tolist(), again.shift) == (found.factors.tolist(), found.shift)


def test_rescale_at_its_bounds() -> None:
    assert rescale(1.0, np.array([1e12])).shift == 31
    assert rescale(1.0, np.array([1e12])).factors.tolist() == [1]
    assert rescale(1.0, np.array([1e-3])).shift == 1
    assert rescale(1.0, np.array([1e-3])).factors.tolist() == [511]


def test_representable_scales_are_the_next_larger_that_a_factor_makes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        wide, narrow = 10 ** rng.uniform(-6, 0), 10 ** rng.uniform(-4, 2) * rng.uniform(1, 200, 50)
        found = representable(wide, narrow)
        brought = rescale(wide, found)
        assert represented(wide, brought) == pytest.approx(found, rel=1e-12)
        assert (found >= narrow * (1 - 1e-8)).all()
        if 1 < brought.shift < RESCALE_SHIFT_MAX:  # else too large or too small for any factor
            assert (found <= narrow * (1 + 1.001 / brought.factors)).all()


def test_scales_too_far_apart_are_raised() -> None:
    found = representable(1.0, np.array([1e-3, 1.0, 1000.0]))
    assert found.tolist() == [1024 / 262, 1024 / 262, 1024]  # 262 is 1024 · 256 / 1000, rounded down


def test_calibrated_operands_are_representable(small: Encoder) -> None:
    """What a rescale gives is then exactly what the weights behind it were made for."""
    scales = calibrate(small, TEXT)
    for operand, wide in rescaled(2).items():
        narrow = scales[operand].numpy()
        assert represented(float(scales[wide]), rescale(float(scales[wide]), narrow)) == pytest.approx(
            narrow, rel=1e-12
        )


def test_an_epsilon_that_no_instruction_holds(small: Encoder) -> None:
    artefact = whole(small)
    assert artefact.model
    artefact.model.config["layer_norm_eps"] = 1e9  # type: ignore[index]
    with pytest.raises(InputError, match=r"LayerNorm: epsilon is \d+ in steps of the residual, must be at"):
        integer_parameters(artefact)


def test_a_value_that_is_no_multiple_of_its_context(small: Encoder) -> None:
    artefact = whole(small)
    assert artefact.model
    name = "scales.encoder.layer.1.attention.self.v"
    artefact.model.tensors[name][3] *= 2
    with pytest.raises(InputError, match=r"encoder.layer.1.attention.self.v are not those of the context times one"):
        integer_parameters(artefact)


def test_layers_alone_are_no_encoder() -> None:
    with pytest.raises(InputError, match="holds layers alone"):
        integer_parameters(Artefact(layers={"fc": random_layer(1, 3, 20, 2, 8)}, model=None))


def changed(small: Encoder, name: str, tensor: np.ndarray | None) -> Artefact:
    """The artefact of a model with another tensor; None: without it."""
    artefact = whole(small)
    assert artefact.model
    tensors = {key: value for key, value in artefact.model.tensors.items() if key != name}
    tensors |= {} if tensor is None else {name: tensor}
    return replace(artefact, model=replace(artefact.model, tensors=tensors))


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("tables.encoder.layer.1.intermediate", None, "is missing"),
        ("scales.encoder.layer.0.attention.self.q", None, "is missing"),
        ("scales.encoder.layer.0.attention.self.q", np.ones(2), r"float64 \[2\], must be float64 \[\] by the config"),
        ("scales.encoder.layer.0.output.operand", -np.ones(40), "-1.0, must be above 0"),
        ("head.bias", np.zeros(2, np.float32), r"tensor head.weight is float32 \[3, 24\], must be float32 \[2, 24\]"),
        ("embeddings.word_embeddings.weight", np.zeros((13, 24)), r"float64 \[13, 24\], must be int16 \[13, 24\]"),
    ],
)
def test_tensors_with_something_wrong(name: str, tensor: np.ndarray | None, message: str, small: Encoder) -> None:
    with pytest.raises(InputError, match=message if "tensor" in message else f"tensor {name} .*{message}"):
        integer_parameters(changed(small, name, tensor))


def test_layers_with_something_wrong(small: Encoder) -> None:
    artefact, name = whole(small), "encoder.layer.1.output.dense"
    other = random_layer(1, 24, 32, 2, 8, 16, name)
    with pytest.raises(
        InputError, match=rf"layer {name} has channels, k and out_bits \(24, 32, 16\), must be \(24, 40"
    ):
        integer_parameters(replace(artefact, layers=artefact.layers | {name: other}))
    del artefact.layers[name]
    with pytest.raises(InputError, match=f"layer {name} is missing"):
        integer_parameters(artefact)
