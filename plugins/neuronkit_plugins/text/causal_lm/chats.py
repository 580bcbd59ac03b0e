"""What a text goes on from: another text, or a chat, which the tokenizer's template turns into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuronkit.errors import InputError
from neuronkit_plugins.text.raw_input import as_texts

Chat = Sequence[Mapping[str, Any]]
"""Messages, each with ``role`` and ``content``."""


def as_prompts(value: Any) -> tuple[list[str] | list[Chat], bool]:
    """
    Return texts or chats as a list, and whether it was a list of them that was given.

    Raises:
        InputError: The value is neither a text nor a chat nor a list of either, or a message lacks its role or content.
    """
    if not isinstance(value, (list, tuple)) or not any(isinstance(item, (list, tuple, Mapping)) for item in value):
        return as_texts("prompt", value)
    is_list = not any(isinstance(item, Mapping) for item in value)
    chats = list(value) if is_list else [value]
    for chat in chats:
        _require_messages(chat)
    return chats, is_list


def as_chats(value: Any) -> tuple[list[Chat], bool]:
    """
    Return chats as a list, and whether it was a list of them that was given.

    Raises:
        InputError: The value is neither a chat nor a list of chats: a text, say, which is no JSON.
    """
    is_list = isinstance(value, (list, tuple)) and any(isinstance(item, (list, tuple)) for item in value)
    chats = list(value) if is_list else [value]
    for chat in chats:
        _require_messages(chat, "messages")
    return chats, is_list


def _require_messages(chat: Any, name: str = "prompt") -> None:
    is_chat = isinstance(chat, (list, tuple)) and all(isinstance(message, Mapping) for message in chat)
    if not is_chat or not chat or not all({"role", "content"} <= message.keys() for message in chat):
        raise InputError(
            f"{name}: a chat is a list of messages, each of which has a role and a content (got {chat!r}).\n"
            'Try: [{"role": "user", "content": "..."}].'
        )
    if _goes_on(chat) and not isinstance(chat[-1]["content"], str):
        raise InputError(
            f"{name}: the last message of the chat is the assistant's, which is to go on, and its content is no text."
        )


def _goes_on(chat: Chat) -> bool:
    """Tell whether the answer goes on with the last message, as in transformers' pipeline, where that is the assistant's."""
    return bool(chat[-1]["role"] == "assistant")


def tokens_of(prompt: str | Chat, tokenizer: Any) -> list[int]:
    """
    Return the token ids of a text or of a chat.

    Raises:
        InputError: The tokenizer has no chat template, or its template refuses the chat.
    """
    if isinstance(prompt, str):
        return list(tokenizer(prompt)["input_ids"])
    if not tokenizer.chat_template:
        raise InputError(
            "prompt: a chat becomes a text by the tokenizer's chat template, and the artifact's tokenizer has none.\n"
            "Try: a text, or the checkpoint of a chat model."
        )
    from jinja2 import TemplateError

    goes_on = _goes_on(prompt)
    try:
        encoded = tokenizer.apply_chat_template(
            list(prompt), add_generation_prompt=not goes_on, continue_final_message=goes_on, return_dict=True
        )
    except (TemplateError, ValueError) as error:
        raise InputError(f"prompt: the tokenizer's chat template refuses the chat: {error}") from error
    return list(encoded["input_ids"])


def with_answer(prompt: str | Chat, answer: str) -> str | list[Any]:
    """Return a text with its continuation, or a chat with its answer."""
    if isinstance(prompt, str):
        return prompt + answer
    if _goes_on(prompt):
        return [*prompt[:-1], {"role": prompt[-1]["role"], "content": prompt[-1]["content"] + answer}]
    return [*prompt, {"role": "assistant", "content": answer}]
