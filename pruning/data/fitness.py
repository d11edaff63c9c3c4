"""Whether text is fit to set int8 scales: of enough sentences, and of words that the model knows."""

import json
from collections.abc import Sequence
from typing import Any

from pruning.encoder.spread import spread
from pruning.files.tokenizer import encoded

# MiniLM's int8 embeddings have cosine 0.969 to the float ones with 3 sentences, 0.990 with 8, 0.995 with 16, 0.997
# with 40 (tests: eight others).
SENTENCES_MIN = 16
UNKNOWN_MAX = 0.1  # share of the tokens: names and typing errors are to be expected


def unfit(tokenizer: Any, sentences: Sequence[str], source: object) -> str:
    """One line that says what is poor about text to calibrate on; '' where it is fit.

    tokenizer : the model's
    source : what the line calls the text
    """
    read = [sentences[i] for i in spread(len(sentences))]
    unknown = unknown_share(tokenizer, read)
    if len(read) >= SENTENCES_MIN and unknown <= UNKNOWN_MAX:
        return ""
    return (
        f"calibration text {source}: {len(read)} sentence{'s' * (len(read) != 1)} (good scales take {SENTENCES_MIN} or "
        f"more), {unknown:.0%} of the tokens are unknown to the model (at most {UNKNOWN_MAX:.0%}): int8 may be poor"
    )


def unknown_share(tokenizer: Any, sentences: Sequence[str]) -> float:
    """Of the tokens of the sentences, special ones left out, the share that stands for what the tokenizer lacks."""
    unknown = _unknown_id(tokenizer)
    tokens = missing = 0
    for sentence in sentences:
        encoding = encoded(tokenizer, sentence)
        own = [token for token, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if not special]
        tokens += len(own)
        missing += sum(token == unknown for token in own)
    return missing / tokens if tokens else 0.0


def _unknown_id(tokenizer: Any) -> int | None:
    """The token of unknown words; None where the tokenizer has none, such as one of bytes."""
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    token: int | None = tokenizer.token_to_id(model["unk_token"]) if model.get("unk_token") else None
    return token
