"""The pruning methods, as a table: what tells them apart is a handful of answers.

| method | trains | mask | a masked weight | a candidate starts from |
|---|---|---|---|---|
| dense | yes | none | – | the dense model |
| magnitude | no | by abs(w), once | is dropped | the dense model |
| wanda | no | by abs(w) · norm of its input, once | is dropped | the dense model |
| asp | yes | by abs(w), once | gets no gradient | the dense model |
| sr-ste | yes | by abs(w), every step | gets the gradient, and decay | the dense model |
| idp | yes | by abs(w), every step | gets the gradient | the denser candidate before it |

Sources: Wanda arXiv 2306.11695; ASP arXiv 2104.08378; SR-STE arXiv 2102.04010; IDP arXiv 2208.06118.

Of IDP the paper says that each candidate inherits from the denser one before it, and that masks, by group-wise
magnitude, stay dynamic. Our choices: the mask is chosen after every step; masked weights live on with the full
gradient, and are inherited as they are; at a step down each output channel keeps its norm (`masked.keep_norms`), which
`make bench-pruning` measures with and without; nested masks are an option.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pruning.masks.masked import live_weight, masked_layers
from rtl.params import InputError


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the table.

    Parameters
    ----------
    trains : weights change after pruning; else it is one-shot
    prunes : false for the dense control alone
    dynamic : the mask is chosen anew after every step
    straight_through, decay : what a masked weight gets, see pruning/masks/masked.py
    inherits : a candidate starts from the live weights of the denser one before it
    rescales : a layer that gets a sparser mask keeps the norms of its output channels (`masked.keep_norms`)
    nested : a candidate's mask stays within the mask that the one before it ended with
    norms : of each layer's input by its name [in], of a calibration run (`input_norms`): what Wanda weighs with
    """

    name: str
    trains: bool = True
    prunes: bool = True
    dynamic: bool = False
    straight_through: bool = False
    decay: float = 0.0
    inherits: bool = False
    rescales: bool = False
    nested: bool = False
    weighs: bool = False
    norms: Mapping[str, Tensor] = field(default_factory=dict)

    def importance(self, name: str, layer: nn.Module) -> Tensor | None:
        """What a layer's magnitudes are multiplied with before they are compared; broadcasts to its weight."""
        if not self.weighs:
            return None
        if name not in self.norms:
            raise InputError(f"{self.name} has no norms of the input of layer {name}: run input_norms first")
        return _by_output(layer, self.norms[name])

    def after_step(self, model: nn.Module) -> None:
        """Dynamic masks follow the weights."""
        if self.dynamic:
            for layer, masked in masked_layers(model).values():
                masked.choose(live_weight(layer))


# SR-STE's decay is its paper's; 10⁻² instead moved a trial with AdamW by 0.04 points.
METHODS = {
    method.name: method
    for method in (
        Method(name="dense", prunes=False),
        Method(name="magnitude", trains=False),
        Method(name="wanda", trains=False, weighs=True),
        Method(name="asp"),
        Method(name="sr-ste", dynamic=True, straight_through=True, decay=2e-4),
        Method(name="idp", dynamic=True, straight_through=True, inherits=True, rescales=True),
    )
}


def method_of(name: str, *, nested: bool = False, norms: Mapping[str, Tensor] | None = None) -> Method:
    """A method by its name, with its options."""
    if name not in METHODS:
        raise InputError(f"method is {name!r}, must be one of {', '.join(METHODS)}")
    if nested and not METHODS[name].inherits:
        raise InputError(f"method {name} inherits nothing, so its masks cannot be nested")
    return replace(METHODS[name], nested=nested, norms=norms or {})


@torch.no_grad()
def input_norms(model: nn.Module, names: list[str], run: Callable[[], object]) -> dict[str, Tensor]:
    """The Euclidean norm of each input channel of the named layers over all that run() sends through the model.

    float64 [in] of each. A Conv2d's are over images and places alike, the same for each kernel position (our choice).
    """
    sums: dict[str, Tensor] = {}

    def hook_of(name: str, channel: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def note(_layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            squares = args[0].detach().to(torch.float64).square().movedim(channel, -1)
            squares = squares.reshape(-1, squares.shape[-1]).sum(dim=0)
            sums[name] = sums[name] + squares if name in sums else squares

        return note

    layers = dict(model.named_modules())
    hooks = [
        layers[name].register_forward_pre_hook(hook_of(name, -3 if isinstance(layers[name], nn.Conv2d) else -1))
        for name in names
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: total.sqrt() for name, total in sums.items()}


def _by_output(layer: nn.Module, norms: Tensor) -> Tensor:
    """The norms [in] as they lie in the weight: Linear [1, in]; Conv2d [out, in / groups, 1, 1], whose output channels
    see the inputs of their own group."""
    if not isinstance(layer, nn.Conv2d):
        return norms[None, :]
    per_group = norms.reshape(layer.groups, -1)
    return per_group.repeat_interleave(layer.out_channels // layer.groups, dim=0)[:, :, None, None]
