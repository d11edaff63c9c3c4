"""What is asked of a model in any form, float or int8: of one that reads text, and of one that looks at pictures."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from torch import Tensor, nn

from pruning.encoder.batches import Packed
from pruning.encoder.parameters import EncoderShape


class TextForm(Protocol):
    """Sentences to embeddings and, with a head, to classes."""

    tokenizer: Any

    @property
    def classes(self) -> int:
        """Outputs of the head; 0 where there is none."""

    def ids(self, sentence: str) -> Tensor:
        """int64 [tokens], special tokens included."""

    def means(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """The mean of each sentence's tokens: [hidden]."""

    def logits(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the head says of each sentence: [classes]; InputError where there is none."""

    def embed(self, sentences: Iterable[str]) -> Tensor:
        """The mean of the tokens at length 1: [sentences, hidden]."""


class TextModel(TextForm, Protocol):
    """Of these a float one, which trains."""

    head: nn.Linear | None

    @property
    def shape(self) -> EncoderShape: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def states(self, ids: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """What each block gives: [tokens, hidden], as many as there are blocks."""

    def packed_states(self, batch: Packed) -> list[Tensor]:
        """The same of sentences without padding: [tokens, hidden]."""

    def classify(self, means: Tensor) -> Tensor:
        """What the head says of the means of sentences' tokens: [hidden] → [classes]."""


class PictureForm(Protocol):
    """Pictures to classes, or to states."""

    def logits(self, images: Tensor) -> Tensor:
        """uint8 [images, channels, side, side] → float [images, labels]; without a classifier the class token's state,
        [images, hidden]."""
