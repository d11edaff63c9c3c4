from pathlib import Path

import pytest

from pruning.data.phrases import phrases, vocabulary, write
from pruning.data.text import gather, read_sentences, sts
from pruning.families.bert.folder import load
from pruning.files.folders import packaged_minilm
from rtl.params import InputError

WORDS = [f"w{'abcdefghij'[i // 10]}{'abcdefghij'[i % 10]}" for i in range(100)]


def test_the_same_arguments_give_the_same_distinct_sentences() -> None:
    first = phrases(200, 1, WORDS)
    assert first == phrases(200, 1, WORDS)
    assert first != phrases(200, 2, WORDS)
    assert len(set(first)) == 200
    assert all(sentence[0].isupper() and "{" not in sentence for sentence in first)


def test_frequent_words_come_more_often() -> None:
    text = " ".join(phrases(500, 0, WORDS)).lower()
    frequent = sum(text.count(word) for word in WORDS[:10])
    assert 0.45 < frequent / text.count("w") < 0.7


def test_the_last_word_is_as_rare_as_any() -> None:
    """Of nineteen words the first one is every second, and one of nineteen of the others."""
    text = " ".join(phrases(100, 0, WORDS[:19])).lower()
    shares = [text.count(word) / text.count("w") for word in (WORDS[0], WORDS[18])]
    assert 0.4 < shares[0] < 0.6
    assert 0 < shares[1] < 0.1


def test_words_of_minilm() -> None:
    words = vocabulary(load(packaged_minilm()).tokenizer.get_vocab())
    assert 15_000 < len(words) < 30_000
    assert words[:3] == ["the", "and", "was"]
    assert not {"##ing", "[CLS]", "a", "é"} & set(words)


def test_too_few_words() -> None:
    with pytest.raises(InputError, match="the vocabulary has 9 whole words, must be at least 10"):
        phrases(1, 0, WORDS[:9])


def test_text_to_try_the_commands_on(tmp_path: Path) -> None:
    write(tmp_path / "text", 50)
    sentences, pairs = gather([tmp_path / "text" / "train.txt"]), sts(tmp_path / "text" / "pairs.tsv")
    assert len(sentences) == 50
    assert len(pairs) == 40 * 39 // 2
    assert {pair.first for pair in pairs} | {pair.second for pair in pairs} == set(read_sentences())
    assert 0 <= min(pair.score for pair in pairs) < 1 < max(pair.score for pair in pairs) <= 5
