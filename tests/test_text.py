"""Texts: splits that do not touch, a vocabulary of the training part, files that are no texts."""

import numpy as np
import pytest

from deqzoo import catalog
from deqzoo.data.examples import TaskError
from deqzoo.data.text import UNKNOWN, divided, encoded, text_data


def written(tmp_path, content):
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    return f"text(path={str(path)!r}, length=5, stride=2)"


def decoded(rows, letters):
    return ["".join(letters[token] for token in row) for row in np.asarray(rows)]


def test_every_window_and_what_follows_lies_within_its_own_part(tmp_path):
    text = "".join(chr(0x100 + number) for number in range(160))
    text = text[:128] + text[:32]  # what the held out parts are read in
    task = catalog.tasks.get(written(tmp_path, text.encode()))
    data, letters, parts = task.load(), task.vocabulary(), divided(text)
    assert "".join(parts.values()) == text
    assert {*letters} == {*parts["train"], UNKNOWN}
    for name, split in data.splits.items():
        stride = 2 if name == "train" else 5
        found, follows = decoded(split.x, letters), decoded(split.y, letters)
        starts = range(0, len(parts[name]) - 5, stride)
        assert found == [parts[name][i : i + 5] for i in starts]
        assert follows == [parts[name][i + 1 : i + 6] for i in starts]


def test_a_character_that_training_does_not_have_is_token_zero():
    data = text_data("it", "ab" * 40 + "ac" * 10, 4, 1)
    assert data.outputs == data.spec.size == 3
    assert {*np.asarray(data.train.x).ravel().tolist()} == {1, 2}
    assert {*np.asarray(data.test.x).ravel().tolist()} == {0, 1}
    assert encoded("bca", UNKNOWN + "ab").tolist() == [2, 0, 1]


def test_the_topics_of_python_repeat_nothing_in_another_split():
    task = catalog.tasks.get("text")
    parts, data = divided(task.text()), task.load()
    known = {parts["train"][i : i + 64] for i in range(len(parts["train"]) - 64)}
    found = {*decoded(data.test.x, task.vocabulary())}
    assert len(known & found) <= len(found) // 200  # 0 of 530 under 3.11.7, 1 of 550 under 3.12.1
    assert len(task.checksum()) == 16


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "mine.txt is empty; a text is a file in UTF-8"),
        (b"\xff\xfe\x00a", "is no UTF-8 at byte 0; .* convert it"),
        (b"abc\0def" * 20, "holds a zero byte at character 3"),
        (b"abcde" * 10 + b"a", "has 51 characters, and its validation part 5: .* 60 in all"),
        (b"a" * 100, "has 1 different characters in its training part: expected 2"),
    ],
)
def test_what_is_no_text_is_refused(content, message, tmp_path):
    with pytest.raises(TaskError, match=message):
        catalog.tasks.get(written(tmp_path, content)).load()


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(TaskError, match="cannot read .*; a text is a file in UTF-8"):
            catalog.tasks.get(f"text:{path}").load()
