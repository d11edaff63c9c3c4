"""Calibration and fake quantisation: what is rounded, to which grid, and that masks survive training in int8."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pruning.data.text import read_sentences
from pruning.encoder.scales import ACTIVATED, smoothed, zero_of
from pruning.families.bert.calibrate import calibrate, compensated, observe, sharing
from pruning.families.bert.fake_quant import Rounded, RoundedSoftmax, RoundedWeight, dequantise, operand_of, quantise
from pruning.families.bert.folder import load
from pruning.families.bert.model import Encoder, Point, bits_of
from pruning.files.folders import packaged_minilm
from pruning.masks.masked import masked_layers
from pruning.masks.sparsify import finalize, sparsify, verify
from rtl.params import InputError
from tests.pruning.samples import write_model

TEXT = ["a fox crossed the river .", "the line ?", "a river crossed a line .", "fox"]


@pytest.fixture
def small(tmp_path: Path) -> Encoder:
    return load(write_model(tmp_path / "small"))


def test_int8_minilm_is_near_float() -> None:
    """The table of the design gives 0.9956 for this scheme and other text."""
    encoder = load(packaged_minilm())
    sentences = read_sentences()
    scales = calibrate(encoder, sentences)
    exact = encoder.embed(sentences)
    cosines = (quantise(encoder, scales).embed(sentences) * exact).sum(dim=1)
    assert cosines.mean() > 0.99
    assert cosines.min() > 0.98


def results_of(encoder: Encoder, sentences: list[str]) -> dict[str, Tensor]:
    """What each linear layer gives, [tokens, channels]."""
    found: dict[str, list[Tensor]] = {name: [] for name in encoder.linears()}

    def hook(layer: nn.Module, _args: tuple[Tensor, ...], results: Tensor) -> None:
        (name,) = (name for name, one in encoder.linears().items() if one is layer)
        found[name].append(results)

    hooks = [layer.register_forward_hook(hook) for layer in encoder.linears().values()]
    with torch.no_grad():
        for sentence in sentences:
            encoder(encoder.ids(sentence))
    for one in hooks:
        one.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def test_biases_make_up_for_what_rounding_shifts(small: Encoder) -> None:
    """Of the tokens half are above what the float encoder gives, half below; all else stays."""
    before, scales = deepcopy(small.state_dict()), calibrate(small, TEXT)
    found = compensated(small, scales, TEXT)
    assert all(torch.equal(one, before[name]) for name, one in small.state_dict().items())
    for name, tensor in found.state_dict().items():
        same = not name.endswith(("dense.bias", "query.bias", "key.bias", "value.bias"))
        assert torch.equal(tensor, before[name]) == same, name
    wanted, rounded = results_of(small, TEXT), results_of(quantise(deepcopy(found), scales), TEXT)
    plain = results_of(quantise(deepcopy(small), scales), TEXT)
    for name, right in wanted.items():
        assert (right - rounded[name]).median(dim=0).values.abs().max() < 2e-4, name
        assert (right - plain[name]).median(dim=0).values.abs().max() > 2e-3, name


def test_weights_that_are_integers_already_are_not_rounded_again(small: Encoder) -> None:
    """Those of an elastic model's sparser densities have scales that their largest weight does not say."""
    scales = calibrate(small, TEXT)
    on_grid = deepcopy(small)
    for layer in on_grid.linears().values():
        layer.weight.data = (layer.weight.data * 64).round() / 64
    found = compensated(small, scales, TEXT, on_grid)
    assert all(torch.equal(layer.weight, found.linears()[name].weight) for name, layer in on_grid.linears().items())
    rounded = results_of(quantise(deepcopy(found), scales, weights=False), TEXT)
    for name, right in results_of(small, TEXT).items():
        assert (right - rounded[name]).median(dim=0).values.abs().max() < 2e-4, name


def test_every_point_has_a_scale(small: Encoder) -> None:
    scales = calibrate(small, TEXT)
    zeros = {zero_of(name) for name in small.points() if name.endswith(".table")}
    assert scales.keys() == small.points().keys() | zeros
    for name in small.points():
        scale = scales[name]
        assert scale.dtype == torch.float64
        assert (scale > 0).all()
        a_channel_each = name.endswith((".operand", ".v"))
        assert scale.ndim == (1 if a_channel_each else 0), name
    widths = {name.rpartition(".")[2]: bits_of(name) for name in small.points()}
    assert widths == {
        **dict.fromkeys(("total", "residual", "result"), 16),
        **dict.fromkeys(("operand", "q", "k", "v", "scores", "table"), 8),
    }


def test_what_is_added_shares_a_scale(small: Encoder) -> None:
    scales = calibrate(small, TEXT)
    groups = [group for group in sharing(2) if len(group) == 2]
    assert groups == [
        ("embeddings.residual", "encoder.layer.0.attention.output.total"),
        ("encoder.layer.0.attention.output.residual", "encoder.layer.0.output.total"),
        ("encoder.layer.0.output.residual", "encoder.layer.1.attention.output.total"),
        ("encoder.layer.1.attention.output.residual", "encoder.layer.1.output.total"),
    ]
    assert all(scales[one] == scales[other] for one, other in groups)


def test_the_largest_score_and_no_16_bit_value_saturates(small: Encoder) -> None:
    scales, seen = calibrate(small, TEXT), observe(small, TEXT)
    for name, x in seen.items():
        if name.endswith(".scores"):
            assert float(x.max() / scales[name]) == pytest.approx(127) or x.max() <= 0
        elif bits_of(name) == 16:
            assert float(x.max() / scales[name]) < 32767 / 1.9


@pytest.mark.parametrize("huge", [1, 6, 30])
@pytest.mark.parametrize("models", [1, 2])
def test_the_activated_operand_is_smoothed_as_suits_the_model(
    small: Encoder, huge: int, models: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the ways that there are, the one by which embeddings of all models stay nearest to those in float."""
    encoders = [small, deepcopy(small)][:models]
    with torch.no_grad():
        for encoder in encoders:
            for block in encoder.blocks():
                block.intermediate.dense.weight[3] *= huge
        encoders[-1].blocks()[0].output.dense.weight *= models
    scales = calibrate(small, TEXT, encoders[1:])
    nearest = []
    for way in ACTIVATED:
        monkeypatch.setattr("pruning.families.bert.calibrate.ACTIVATED", (way,))
        single = calibrate(small, TEXT, encoders[1:])
        cosines = [
            (quantise(deepcopy(encoder), single).embed(TEXT) * encoder.embed(TEXT)).sum(dim=1) for encoder in encoders
        ]
        nearest.append((float(torch.cat(cosines).mean()), single))
    best = max(cosine for cosine, _ in nearest)
    assert best - min(cosine for cosine, _ in nearest) > 1e-6
    wanted = next(single for cosine, single in nearest if cosine == best)
    assert all(torch.equal(scales[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
def test_smoothing_by_hand(alpha: float) -> None:
    linear = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0.5, -4.0]]))
    inputs = torch.tensor([[16.0, 1.0], [-2.0, -9.0]])
    expected = [16**alpha / 0.5 ** (1 - alpha), 9**alpha / 4 ** (1 - alpha)]
    assert smoothed(inputs, [linear], alpha).tolist() == pytest.approx(expected)


def test_rounded_by_hand() -> None:
    point = Rounded(torch.tensor(0.5, dtype=torch.float64), 8)
    x = torch.tensor([0.2, 0.25, 0.75, -0.9, 99.0, -99.0], requires_grad=True)
    y = point(x)
    assert y.tolist() == [0.0, 0.0, 1.0, -1.0, 63.5, -64.0]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 1, 1, 0, 0]  # straight through, but for what saturates


def test_rounded_weight_by_hand() -> None:
    """Folded with the inputs' scales (2, 1) the row is 2, 63.5, so one step is 0.5."""
    weight = torch.tensor([[1.0, 63.5], [0.0, 0.0]])
    rounded = RoundedWeight(torch.tensor([2.0, 1.0]))(weight + torch.tensor([[0.1, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(rounded, weight)


def test_softmax_rows_sum_to_one_and_keep_their_tail() -> None:
    """One peak and 511 keys just under half a step: rounded alone they would all vanish."""
    scores = torch.full((1, 1, 512), 0.0)
    scores[0, 0, 7] = torch.log(torch.tensor(255 / 0.49))
    weights = RoundedSoftmax()(scores, None)
    exact = scores.softmax(dim=-1)
    assert float(weights.sum()) == pytest.approx(1)
    assert float(weights[0, 0, 7]) == pytest.approx(float(exact[0, 0, 7]), abs=0.003)


def test_masked_keys_weigh_nothing() -> None:
    scores = torch.randn(2, 3, 4, 5)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    weights = RoundedSoftmax()(scores, mask)
    assert (weights[1, ..., 2:] == 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 4))


def test_operands_are_integers_times_their_scales(small: Encoder) -> None:
    scales = calibrate(small, TEXT)
    quantised = quantise(deepcopy(small), scales)
    seen: dict[str, Tensor] = {}
    for name, linear in quantised.linears().items():
        linear.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    quantised.embed(TEXT)
    for name, x in seen.items():
        integers = x / scales[operand_of(name)]
        torch.testing.assert_close(integers, integers.round(), atol=1e-3, rtol=0)
        assert integers.abs().max() <= 128.001


def test_the_input_of_a_table_saturates_around_what_stands_for_0(small: Encoder) -> None:
    scales = calibrate(small, TEXT)
    points = quantise(deepcopy(small), scales).points()
    for name in (name for name in points if name.endswith(".table")):
        zero = int(scales[zero_of(name)])
        assert zero != 0
        found = points[name](torch.tensor([-1e6, 0.0, 1e6])) / scales[name]
        assert found.tolist() == pytest.approx([-128 - zero, 0, 127 - zero])


def test_and_back(small: Encoder) -> None:
    expected = small.embed(TEXT)
    sparsify(small, "2:8")
    pruned = small.embed(TEXT)
    quantise(small, calibrate(small, TEXT))
    assert not torch.equal(small.embed(TEXT), pruned)
    dequantise(small)
    assert torch.equal(small.embed(TEXT), pruned)
    assert not torch.equal(pruned, expected)
    assert all(type(point) is Point for point in small.points().values())
    assert len(masked_layers(small)) == 12


@pytest.mark.parametrize("pattern", ["2:4", "1:8", "3:16"])
def test_training_in_int8_keeps_the_masks(pattern: str, small: Encoder) -> None:
    plan = sparsify(small, pattern, method="asp", ragged="pad")
    quantise(small.requires_grad_(True), calibrate(small, TEXT))
    masks = {name: masked.mask for name, (_, masked) in masked_layers(small).items()}
    before = small.encoder.layer[0].output.dense.weight.detach().clone()
    optimiser = torch.optim.AdamW(small.parameters(), lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        small(small.ids(TEXT[0])).square().sum().backward()
        optimiser.step()
    assert not torch.equal(small.encoder.layer[0].output.dense.weight, before)
    for name, linear in small.linears().items():
        assert (linear.weight[~masks[name]] == 0).all()
    dequantise(small)
    verify(small, plan)
    found = finalize(small)
    assert all(torch.equal(found[name], masks[name]) for name in masks)


def test_nothing_to_calibrate_on(small: Encoder) -> None:
    with pytest.raises(InputError, match="there is no sentence to calibrate on, must be at least 1"):
        calibrate(small, [])
