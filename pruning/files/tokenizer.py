"""The package tokenizers, behind which whatever is wrong with a tokenizer or a text is one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import tokenizers

from rtl.params import InputError

Tokenizer: TypeAlias = tokenizers.Tokenizer | tokenizers.BertWordPieceTokenizer


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the package raises plain Exception
        raise InputError(f"{what}: {error}") from None
    except BaseException as error:  # and, where it fails itself, what is none
        if type(error).__name__ != "PanicException":
            raise
        raise InputError(f"{what}: the package tokenizers failed at it") from None


def open_tokenizer(text: str, otherwise: str, max_tokens: int = 0) -> Tokenizer:
    """The tokenizer of a tokenizer.json, which pads nothing, and cuts to max_tokens unless that is 0.

    Raises
    ------
    InputError : it is none; the message begins with `otherwise`.
    """
    with _told(otherwise):
        return _plain(tokenizers.Tokenizer.from_str(text), max_tokens)


def open_words(words: Path, otherwise: str, max_tokens: int, *, lowercase: bool) -> Tokenizer:
    """The tokenizer of BERT's vocab.txt, as open_tokenizer."""
    with _told(otherwise):
        return _plain(tokenizers.BertWordPieceTokenizer(str(words), lowercase=lowercase), max_tokens)


def _plain(tokenizer: Tokenizer, max_tokens: int) -> Tokenizer:
    tokenizer.no_padding()
    if max_tokens:
        tokenizer.enable_truncation(max_tokens)
    else:
        tokenizer.no_truncation()
    return tokenizer


def encoded(tokenizer: Tokenizer, text: str) -> tokenizers.Encoding:
    """The tokens of a text, special ones included; InputError where its tokenizer has none for it."""
    with _told("the tokenizer has no ids for a text"):
        return tokenizer.encode(text)


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """The token ids of a text, as encoded."""
    return list(encoded(tokenizer, text).ids)
