"""Chats: `neuronkit.pipeline` answers as transformers' pipeline does."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer, pipeline

import neuronkit
from neuronkit.errors import InputError

TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}"
    "<{{ message.role }}>{{ message.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)
QUESTION = [{"role": "user", "content": "hi"}]
STARTED = [*QUESTION, {"role": "assistant", "content": "yo"}]
GREEDY = {"max_new_tokens": 6, "do_sample": False}


@pytest.fixture(scope="module")
def chatting(compiled, tmp_path_factory):
    """`neuronkit.pipeline` of an artifact whose tokenizer has a chat template."""
    path = tmp_path_factory.mktemp("artifact") / "gpt2"
    compiled().save_pretrained(path)
    pipe = neuronkit.pipeline(path)
    pipe.shell.tokenizer.chat_template = TEMPLATE
    return pipe


@pytest.fixture
def theirs(chatting, reference):
    """transformers' pipeline of the eager model."""
    tokenizer = AutoTokenizer.from_pretrained(chatting.shell.model_save_dir, padding_side="left")
    tokenizer.chat_template = TEMPLATE
    return pipeline("text-generation", model=reference, tokenizer=tokenizer)


@pytest.mark.parametrize("chat", [QUESTION, STARTED], ids=["question", "started answer"])
@pytest.mark.parametrize("full", [True, False])
def test_a_chat(chatting, theirs, chat, full):
    expected = theirs(chat, return_full_text=full, **GREEDY)
    for name in ("prompt", "text", "messages"):
        assert [chatting(**{name: chat}, return_full_text=full, **GREEDY)] == expected
    if not full:
        assert "".join(chatting(prompt=chat, stream=True, **GREEDY)) == expected[0]["generated_text"]


def test_several_chats(chatting, theirs):
    chats = [QUESTION, STARTED, [*STARTED, {"role": "user", "content": "b"}]]
    expected = [one for (one,) in theirs(chats, **GREEDY)]
    assert chatting(prompt=chats, **GREEDY) == expected
    assert chatting(prompt=[tuple(QUESTION)], **GREEDY) == expected[:1]
    pairs = chatting(prompt=[QUESTION], num_beams=2, num_return_sequences=2, **GREEDY)
    assert [[answer["generated_text"][:1] for answer in answers] for answers in pairs] == [[QUESTION, QUESTION]]


MESSAGES = "prompt: a chat is a list of messages, each of which has a role and a content (got {}).\n{}"
TRY = 'Try: [{"role": "user", "content": "..."}].'


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([{"role": "user"}], MESSAGES.format("[{'role': 'user'}]", TRY)),
        ([QUESTION, "a"], MESSAGES.format("'a'", TRY)),
        ([*QUESTION, "a"], MESSAGES.format("[{'role': 'user', 'content': 'hi'}, 'a']", TRY)),
        ([QUESTION, []], MESSAGES.format("[]", TRY)),
        (
            [{"role": "assistant", "content": [{"type": "text", "text": "yo"}]}],
            "prompt: the last message of the chat is the assistant's, which is to go on, and its content is no text.",
        ),
        (
            [{"role": "system", "content": "hi"}],
            "prompt: the tokenizer's chat template refuses the chat: no system messages",
        ),
    ],
    ids=str,
)
def test_chats_that_are_none(chatting, given, said):
    with pytest.raises(InputError) as caught:
        chatting(prompt=given, **GREEDY)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "given", ["hi", "[{role:user,content:hi}]", QUESTION[0], [], ["hi"], [QUESTION, "hi"], 5], ids=str
)
def test_messages_that_are_no_chat(chatting, given):
    """Such as JSON whose quotes the shell took: as a text it would be answered all the same."""
    with pytest.raises(InputError) as caught:
        chatting(messages=given, **GREEDY)
    one = "hi" if given == [QUESTION, "hi"] else given
    assert str(caught.value) == MESSAGES.format(repr(one), TRY).replace("prompt", "messages", 1)
    assert chatting(messages=[QUESTION], **GREEDY) == chatting(prompt=[QUESTION], **GREEDY)


def test_a_tokenizer_without_a_template(compiled, tmp_path):
    compiled().save_pretrained(tmp_path / "saved")
    with pytest.raises(InputError) as caught:
        neuronkit.pipeline(tmp_path / "saved")(prompt=QUESTION)
    assert str(caught.value) == (
        "prompt: a chat becomes a text by the tokenizer's chat template, and the artifact's tokenizer has none.\n"
        "Try: a text, or the checkpoint of a chat model."
    )
