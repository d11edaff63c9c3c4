"""The ViT against transformers, folders there and back, and the pictures it learns from."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from pruning.data.datasets import Images, fashion_mnist, labelled
from pruning.encoder.pixels import Pixels
from pruning.families.known import family_of
from pruning.families.vit import folder, shape
from pruning.families.vit import model as vit
from pruning.families.vit.shape import ViTShape
from pruning.masks.masked import masked_layers
from pruning.masks.methods import METHODS
from pruning.masks.sparsify import sparsify, verify
from pruning.training.image_task import ImageTask
from pruning.training.train import train
from rtl.params import InputError
from tests.pruning.samples import write_shards

TINY = ViTShape(image=12, patch=4, channels=3, hidden=24, layers=2, heads=3, intermediate=40, labels=5)


def their_folder(folder: Path, **changes: object) -> torch.nn.Module:
    """A tiny ViT of transformers with random weights in a folder; returns it."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    config = transformers.ViTConfig(image_size=12, patch_size=4, num_channels=3, num_labels=5, **sizes | changes)
    torch.manual_seed(0)
    kind = transformers.ViTForImageClassification if changes.pop("classifier", True) else transformers.ViTModel
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and embeddings too, so that a lost one shows
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("changes", [{}, {"qkv_bias": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3}])
def test_equals_transformers(changes: dict[str, object], tmp_path: Path) -> None:
    theirs, images = their_folder(tmp_path, **changes), torch.randn(3, 3, 12, 12)
    ours = folder.load(tmp_path)
    assert torch.allclose(ours(images), theirs(images).logits, atol=1e-5)


def test_the_least_model() -> None:
    """Of every number the least: one layer, one head, one of each."""
    config = {"model_type": "vit", **dict.fromkeys(shape.KEYS.values(), 1)}
    least = ViTShape(image=1, patch=1, channels=1, hidden=1, layers=1, heads=1, intermediate=1, labels=0)
    try:
        found: ViTShape | str = shape.shape_of(config, "config.json", 0)
    except InputError as error:
        found = str(error)
    assert found == least


def test_without_a_classifier(tmp_path: Path) -> None:
    theirs, images = their_folder(tmp_path, classifier=False), torch.randn(3, 3, 12, 12)
    states = theirs(images).last_hidden_state
    ours = folder.load(tmp_path)
    assert torch.allclose(ours.states(images), states, atol=1e-5)
    assert torch.allclose(ours(images), states[:, 0], atol=1e-5)


def test_pruned_and_written_back(tmp_path: Path) -> None:
    """transformers opens it and computes the same, masked or not."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    their_folder(tmp_path / "dense")
    model, images = folder.load(tmp_path / "dense"), torch.randn(3, 3, 12, 12)
    plan = sparsify(model, "2:8", filter_fn=vit.encoder_layers)
    assert len(plan.layers) == 12
    folder.save(model, tmp_path / "pruned")
    theirs = transformers.ViTForImageClassification.from_pretrained(tmp_path / "pruned").eval()
    assert torch.allclose(theirs(images).logits, model(images), atol=1e-5)
    again = folder.load(tmp_path / "pruned")
    verify(again, plan)
    assert torch.equal(again(images), model(images))


def test_our_own_shape_comes_back(tmp_path: Path) -> None:
    model = vit.ViT(TINY).eval()
    model.pixels = Pixels((73.0,), (90.0,))
    folder.save(model, tmp_path)
    assert family_of(tmp_path) == "vit"
    read = folder.load(tmp_path)
    assert read.shape == TINY
    assert read.pixels.mean == pytest.approx((73.0,) * 3)
    assert read.pixels.deviation == pytest.approx((90.0,) * 3)


def test_a_byte_is_what_their_processor_makes_of_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pictures = torch.randint(0, 256, (1, 3, 12, 12), dtype=torch.uint8)
    model = vit.ViT(TINY)
    model.pixels = Pixels((73.0, 80.0, 100.0), (90.0, 50.0, 61.0))
    folder.save(model, tmp_path)
    own = json.loads((tmp_path / folder.PROCESSOR).read_text())
    for change in ({}, {"do_normalize": False}, {"do_rescale": False}, {"image_mean": [0.1, 0.2, 0.3]}):
        (tmp_path / folder.PROCESSOR).write_text(json.dumps(own | change))
        theirs = transformers.ViTImageProcessor.from_pretrained(tmp_path)
        wanted = theirs(list(pictures.numpy()), return_tensors="pt")["pixel_values"]
        assert torch.allclose(folder.load(tmp_path).pixels.floats(pictures), wanted.float(), atol=1e-4)
    (tmp_path / folder.PROCESSOR).unlink()
    assert folder.load(tmp_path).pixels == Pixels((127.5,), (127.5,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_mean": [0.5, 0.5]}, "image_mean is [0.5, 0.5], must be a number for each of 3 channels"),
        ({"image_std": [0.0]}, "image_std is [0.0], must be a number for each of 3 channels"),
        ({"rescale_factor": "a"}, "rescale_factor is 'a', must be a positive number"),
    ],
)
def test_bad_processor(change: dict[str, object], message: str, tmp_path: Path) -> None:
    folder.save(vit.ViT(TINY), tmp_path)
    path = tmp_path / folder.PROCESSOR
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=f"^{re.escape(f'{path}: {message}')}$"):
        folder.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "model_type is 'bert', must be 'vit'"),
        ({"hidden_size": None}, "hidden_size is None, must be an integer of at least 1"),
        ({"patch_size": 5}, "image_size 12 is no multiple of patch_size 5"),
        ({"num_attention_heads": 5}, "hidden_size 24 is no multiple of num_attention_heads 5"),
        ({"hidden_act": "tanh"}, "hidden_act is 'tanh', must be one of"),
        ({"quantization_config": {"bits": 8}}, "quantization_config is {'bits': 8}, must be None"),
        ({"qkv_bias": 3}, "qkv_bias is 3 and layer_norm_eps 1e-12, must be"),
    ],
)
def test_bad_config(change: dict[str, object], message: str, tmp_path: Path) -> None:
    model = vit.ViT(TINY)
    model.config |= change
    folder.save(model, tmp_path)
    with pytest.raises(InputError, match=f"^{re.escape(f'{tmp_path}/config.json: {message}')}"):
        folder.load(tmp_path)


def test_shards(tmp_path: Path) -> None:
    model = vit.ViT(TINY)
    folder.save(model, tmp_path)
    write_shards(tmp_path)
    found = folder.load(tmp_path)
    assert all(torch.equal(tensor, found.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config.json is missing$"):
        folder.load(tmp_path)
    folder.save(vit.ViT(TINY), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    expected = "tensor encoder.layer.0.intermediate.dense.weight is float32 [40, 24], must be float [48, 24]"
    with pytest.raises(InputError, match=re.escape(expected)):
        folder.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(InputError, match=r"tensor encoder\.layer\.2\.[a-z_.]+ is missing$"):
        folder.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is not JSON"):
        folder.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:900])
    with pytest.raises(InputError, match=r"model\.safetensors is truncated or damaged"):
        folder.load(tmp_path)


def test_small_vit_learns() -> None:
    """The benchmarks' model, every layer but patches and classifier at 1:8, on sixteen pictures."""
    draw = torch.Generator().manual_seed(0)
    pictures = Images(
        pixels=torch.randint(0, 256, (16, 28, 28), dtype=torch.uint8, generator=draw), labels=torch.arange(16) % 10
    )
    task, model = ImageTask(pictures, pictures.part(0, 4)), vit.small_vit(0)
    sparsify(model, "1:8", method="idp", filter_fn=vit.encoder_layers)
    assert len(masked_layers(model)) == 24
    losses: list[float] = []
    found = train(
        model,
        task,
        steps=8,
        batch=16,
        lr=2e-3,
        bf16=False,
        method=METHODS["idp"],
        on_step=lambda _, line: losses.append(line["loss"]),
    )
    assert losses[-1] < losses[0]
    right = (model(task.inputs(pictures.pixels[:4])).argmax(dim=1) == pictures.labels[:4]).float().mean().item()
    assert found == {"accuracy": 100 * right}


def test_small_vit_is_drawn_from_its_seed() -> None:
    one, other, third = vit.small_vit(1), vit.small_vit(1), vit.small_vit(2)
    images = torch.zeros(1, 1, 28, 28)
    assert torch.equal(one(images), other(images))
    assert not torch.equal(one(images), third(images))
    assert one.embeddings.position_embeddings.shape == (1, 17, 128)


def test_task_normalises_and_averages() -> None:
    pictures = Images(pixels=torch.randint(0, 256, (8, 4, 4), dtype=torch.uint8), labels=torch.arange(8) % 3)
    task = ImageTask(pictures, pictures)
    inputs = task.inputs(pictures.pixels)
    assert inputs.shape == (8, 1, 4, 4)
    assert inputs.mean().item() == pytest.approx(0, abs=1e-5)
    assert inputs.std().item() == pytest.approx(1, abs=1e-5)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    batch = torch.tensor([3, 1])
    assert torch.equal(task.loss(model, batch), cross_entropy(model(inputs[batch]), pictures.labels[batch]))


def test_task_distils() -> None:
    """Logits are to be the dense model's, too, which gets no gradient; the task itself stays as it is."""
    torch.manual_seed(1)
    pictures = Images(pixels=torch.randint(0, 256, (8, 4, 4), dtype=torch.uint8), labels=torch.arange(8) % 3)
    task = ImageTask(pictures, pictures)
    model, dense = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)) for _ in range(2))
    batch = torch.tensor([3, 1, 6])
    logits, right = (one(task.inputs(pictures.pixels)[batch]) for one in (model, dense))
    loss = task.distilled(dense).loss(model, batch)
    assert loss.item() == pytest.approx((task.loss(model, batch) + (logits - right).square().mean()).item(), rel=1e-6)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in dense.parameters())


# --- Fashion-MNIST ---------------------------------------------------------------------------------------------------

COUNTS = {"train": 60_000, "t10k": 10_000}


def idx(path: Path, array: np.ndarray) -> None:
    head = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes(), 1))


@pytest.fixture(scope="module")
def fashion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four files of the right form; nothing of the real ones is needed."""
    folder = tmp_path_factory.mktemp("fashion")
    for part, count in COUNTS.items():
        pixels = np.zeros((count, 28, 28), np.uint8)
        pixels[5, 2, 3] = 77
        idx(folder / f"{part}-images-idx3-ubyte.gz", pixels)
        idx(folder / f"{part}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return folder


def test_fashion_mnist(fashion: Path) -> None:
    training, test = fashion_mnist(fashion)
    assert training.pixels.shape == (60_000, 28, 28)
    assert test.pixels.shape == (10_000, 28, 28)
    assert training.pixels[5, 2, 3] == 77
    assert training.pixels.sum() == 77
    assert test.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    part = test.part(3, 7)
    assert part.labels.tolist() == [3, 4, 5, 6]
    assert part.pixels[2, 2, 3] == 77


def test_what_fashion_mnist_refuses(fashion: Path, tmp_path: Path) -> None:
    message = f"{tmp_path}/train-images-idx3-ubyte.gz is missing: install Debian's dataset-fashion-mnist, or say where"
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        fashion_mnist(tmp_path)
    for path in fashion.iterdir():
        (tmp_path / path.name).symlink_to(path)
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    labels.unlink()
    for data, message in (
        (gzip.compress(bytes(9))[:-4], "is damaged: "),
        (b"no gzip", "is no whole IDX file of bytes in 1 dimensions"),
        (gzip.compress(b"\0\0\x08\x01" + bytes(60_004)), "is no whole IDX file of bytes in 1 dimensions"),
    ):
        labels.write_bytes(data)
        with pytest.raises(InputError, match=f"^{re.escape(f'{labels} {message}')}"):
            fashion_mnist(tmp_path)
    idx(labels, np.zeros(59_999, np.uint8))
    with pytest.raises(InputError, match=r"has 60000 images and 59999 labels of train, must have one for each$"):
        fashion_mnist(tmp_path)
    idx(labels, np.full(60_000, 10, np.uint8))
    with pytest.raises(InputError, match=r": label 10 of train is out of range, must be 0 to 9$"):
        fashion_mnist(tmp_path)
    for part in ("images-idx3", "labels-idx1"):
        path = tmp_path / f"train-{part}-ubyte.gz"
        path.unlink()
        idx(path, np.zeros((12, 28, 28) if part == "images-idx3" else 12, np.uint8))
    assert [len(one.labels) for one in labelled(tmp_path)] == [12, 10_000]
    with pytest.raises(InputError, match=r" has 12 × 28 × 28 bytes of train, Fashion-MNIST 60000 × 28 × 28$"):
        fashion_mnist(tmp_path)
