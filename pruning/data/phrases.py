"""Text that needs no data set: patterns of sentences, filled with words of a model's own vocabulary.

The sentences mean nothing. For distillation that is enough: the dense model has an embedding for each of them, and a
pruned one that learns to give the same for many such is near it on real sentences as well.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pruning.files.script import script
from pruning.files.writing import writing
from rtl.params import InputError

PATTERNS = (
    "The {} {} of the {} was {} in the {}.",
    "A {} is {} a {} near the {} {}.",
    "Who {} the {} and the {} {}?",
    "{} and {} are {} for {} and {}.",
    "In {}, the {} has not {} any {} since the {}.",
    "She {} that {} {} would {} the {}.",
    "Why did the {} {} so many {} {}?",
    "{} {} {} after {} in {}",
    "It was {}, {} and {}, but never {}.",
    "Two {} {} on a {} with their {}.",
    "According to {}, most {} {} {} by {}.",
    "If you {} the {}, then {} it with some {} {}.",
    "He had {} from {} to {} before the {} {}.",
    "There is no {} {} {} than {}.",
    "How do I {} a {} without {} the {}?",
    "The {} said on {} that {} {} the {} {}.",
    "{}: {} {} {}",
    "My {} {} is {} and its {} are {}.",
    "They could {} neither {} nor {} {}.",
    "One of the {} {} an {} {} over {} {}.",
)


def vocabulary(numbers: Mapping[str, int]) -> list[str]:
    """The whole words among a tokenizer's tokens, of at least three small letters from a to z, by their numbers.

    A BERT vocabulary numbers frequent words first.
    """
    words = (token for token in numbers if len(token) > 2 and token.isascii() and token.isalpha() and token.islower())
    return sorted(words, key=lambda word: numbers[word])


def phrases(count: int, seed: int, words: Sequence[str]) -> list[str]:
    """Distinct sentences, the same for the same arguments; half of the words are of the first tenth of the list.

    words : frequent ones first
    """
    if len(words) < 10:
        raise InputError(f"the vocabulary has {len(words)} whole words, must be at least 10")
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
        chosen = rng.integers(0, np.where(rng.random(pattern.count("{}")) < 0.5, len(words) // 10, len(words)))
        sentence = pattern.format(*(words[int(number)] for number in chosen))
        found[sentence[0].upper() + sentence[1:]] = None
    return list(found)


def write(folder: Path, count: int = 4000) -> None:
    """Text to try the commands on: train.txt, phrases of words that MiniLM knows, and pairs.tsv, all pairs of
    pruning/data/sentences.txt with what MiniLM says of them, 0 … 5."""
    from pruning.data.text import read_sentences
    from pruning.families.known import family_named, family_of
    from pruning.files.folders import folder_of

    minilm, sentences = family_named(family_of("minilm")).load(folder_of("minilm")), read_sentences()
    text = phrases(count, 0, vocabulary(minilm.tokenizer.get_vocab()))
    embeddings = minilm.embed(sentences)
    cosines = (embeddings @ embeddings.T).clamp(0, 1).tolist()
    rows = [
        f"{5 * cosines[i][j]:.3f}\t{sentences[i]}\t{sentences[j]}\n" for i in range(len(sentences)) for j in range(i)
    ]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
        (folder / "pairs.tsv").write_text("".join(rows), encoding="utf-8")


if __name__ == "__main__":
    script(
        "pruning.data.phrases",
        "Write sentences to train on and scored pairs: train.txt, pairs.tsv.",
        "build/text",
        write,
    )
