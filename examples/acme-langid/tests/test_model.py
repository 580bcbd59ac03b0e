"""What is this package's own: bytes, windows, and scores that padding does not change."""

import pytest
import torch

from acme_langid.plugin import Texts, plugin
from acme_langid.tokenizer import ByteTokenizer, pad, split
from acme_langid.train import train


def test_tokenizer_reads_composed_and_decomposed_letters_alike():
    tokenizer = ByteTokenizer()
    assert tokenizer.encode("Cafe\N{COMBINING ACUTE ACCENT}") == tokenizer.encode("café") == [100, 98, 103, 196, 170]


@pytest.mark.parametrize(("length", "sizes"), [(1, [1]), (10, [10]), (11, [6, 5]), (31, [8, 8, 8, 7])])
def test_windows_are_of_about_equal_size(length, sizes):
    assert [len(window) for window in split(range(length), 10)] == sizes


def test_padding_changes_no_score():
    """Each row scores as it does alone, bit for bit but for the order of sums."""
    model = train(steps=0)
    rows = [[5, 9, 200], [17] * 40]
    with torch.no_grad():
        together = model(*pad(rows))["logits"]
        alone = torch.cat([model(*pad([row]))["logits"] for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_windows_count_by_their_bytes():
    """Three bytes of one language outweigh one byte of the other."""

    class Outputs:
        logits = torch.tensor([[9.0, -9.0], [-9.0, 9.0]])

    options = plugin.options()(top_k=None)
    ranked = plugin.postprocess(Outputs, Texts(["x", "y"], [[3, 1]], is_list=False), options)
    assert [item["label"] for item in ranked] == ["x", "y"]
    assert ranked[0]["score"] == pytest.approx(0.75)
