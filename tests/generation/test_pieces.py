"""Streams of text: the pieces joined are the whole, whatever a tokenizer does at the start; no token takes longer than another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from neuronkit_plugins.text.causal_lm.pieces import text_pieces

END = "</s>"
WORDS = ("▁", "▁▁", "▁the", "the", "▁a", "ing", ".", "▁é", "中", "\N{REPLACEMENT CHARACTER}")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LETTERS = sorted(ByteLevel.alphabet())
TEXTS = st.text(alphabet="aé中😀 ", max_size=4)


def make_tokenizer(tokens, decoder):
    """Return a tokenizer whose ids are the places of these tokens, but for the first, which is special."""
    model = models.WordLevel({token: id for id, token in enumerate((END, *tokens))}, unk_token=END)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens([AddedToken(END, special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, clean_up_tokenization_spaces=False)


BYTE_LEVEL = make_tokenizer([*LETTERS, "Ġthe", "ing", "Ã©", "ðŁ"], decoders.ByteLevel())
METASPACE = make_tokenizer(WORDS, decoders.Metaspace())
SENTENCEPIECE = make_tokenizer(
    [*WORDS, *BYTES],
    decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    ),
)


def check(ids, tokenizer):
    assert "".join(text_pieces(ids, tokenizer)) == tokenizer.decode(ids, skip_special_tokens=True)


@given(st.lists(st.integers(0, 260), max_size=30))
def test_any_bytes(ids):
    """Whole and broken characters."""
    check(ids, BYTE_LEVEL)


@given(st.lists(st.integers(0, len(WORDS)), max_size=30))
def test_blanks_that_the_first_token_loses(ids):
    check(ids, METASPACE)


@given(
    st.lists(st.one_of(st.integers(0, len(WORDS)), TEXTS), max_size=12),
    st.sampled_from([b"", "é".encode()[:1], "😀".encode()[:3]]),
)
def test_words_beside_bytes(parts, broken):
    """What has no token comes byte by byte; the text may end within a character, after a word."""
    ids = []
    for part in parts:
        ids += [part] if isinstance(part, int) else [1 + len(WORDS) + byte for byte in part.encode()]
    check([*ids, 3, *(1 + len(WORDS) + byte for byte in broken)], SENTENCEPIECE)


class Bytes:
    """A tokenizer whose tokens are bytes; it counts those that it decodes at once."""

    most = 0

    def decode(self, ids, skip_special_tokens):
        self.most = max(self.most, len(ids))
        return bytes(ids).decode("utf-8", errors="replace")


def test_pieces_hold_back_half_characters():
    """A piece never ends within a character of several bytes."""
    assert list(text_pieces("aé😀b".encode(), Bytes())) == ["a", "é", "😀", "b"]
    assert list(text_pieces("é".encode()[:1], Bytes())) == ["�"]
    assert list(text_pieces([], Bytes())) == []


def test_a_long_text_is_not_decoded_again_for_each_token():
    tokenizer = Bytes()
    assert "".join(text_pieces(("aé😀b" * 100).encode(), tokenizer)) == "aé😀b" * 100
    assert tokenizer.most == 6  # é and 😀
