"""The outputs of a model whose plugin names no class for them."""

from __future__ import annotations

from typing import Any


class Outputs(dict[str, Any]):
    """Tensors by name (``outputs["logits"]``), attribute (``outputs.logits``) and position (``outputs[0]``)."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"There is no output {name!r}; there are {', '.join(self)}.") from None

    def __getitem__(self, key: str | int) -> Any:
        return list(self.values())[key] if isinstance(key, int) else super().__getitem__(key)

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the tensors in order."""
        return tuple(self.values())
