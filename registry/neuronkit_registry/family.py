"""What the owner of a registry says about its plugins: their entry-point group, keys and hooks."""

from __future__ import annotations

import re

import attrs

_WORD = "[a-z0-9][a-z0-9_-]*"


@attrs.frozen
class KeyGrammar:
    """
    The form of the keys of a family.

    Args:
        pattern: Regular expression of a whole key; its groups ``architecture`` and ``task``, if any, name the halves.
        form: The same for people.
    """

    pattern: str
    form: str

    def parse(self, key: str) -> dict[str, str] | None:
        """Return the halves of a key by name, or None when it is no key."""
        found = re.fullmatch(self.pattern, key)
        return found.groupdict() if found else None


MODEL_KEYS = KeyGrammar(
    rf"(?P<architecture>{_WORD})\.(?P<task>{_WORD})",
    "<architecture>.<task> in lower-case letters, digits, - and _, such as bert.question-answering",
)
PLAIN_KEYS = KeyGrammar(_WORD, "a name in lower-case letters, digits, - and _")
CLASS_KEYS = KeyGrammar("Neuron[A-Za-z0-9_]*", "the name of a class, which begins with Neuron")


@attrs.frozen(kw_only=True)
class Contract:
    """
    Which hooks a plugin may and must implement.

    Args:
        specs: Module that holds the hook specifications; imported when the first plugin is checked.
        project: Name that the specifications' and implementations' pluggy markers were made with.
        required: Hooks that every plugin implements.
        allowed: The only hooks that it may implement; None allows all.
        wrappers_only: Whether every implementation must be ``hookimpl(wrapper=True)``.
    """

    specs: str
    project: str
    required: tuple[str, ...] = ()
    allowed: tuple[str, ...] | None = None
    wrappers_only: bool = False


@attrs.frozen(kw_only=True)
class Family:
    """
    One kind of plugin.

    Args:
        group: Entry-point group without the API major: ``neuronkit.models`` stands for ``neuronkit.models.v1``.
        api: Supported hook API, as (major, minor).
        builtin: Package whose plugins are the built-ins, and whose version plugins may require.
        version: Running version of that package.
        keys: Form of the keys.
        contract: Hooks of the plugins; None for plugins without hooks.
        builtins_always_allowed: Whether the list of allowed plugins spares the built-ins, because nothing works without
            them.
    """

    group: str
    api: tuple[int, int]
    builtin: str
    version: str
    keys: KeyGrammar = MODEL_KEYS
    contract: Contract | None = None
    builtins_always_allowed: bool = False

    @property
    def namespace(self) -> str:
        """First part of the group, which all families of a project share."""
        return self.group.partition(".")[0]

    @property
    def entry_point_group(self) -> str:
        """The group that packages declare plugins in."""
        return f"{self.group}.v{self.api[0]}"
