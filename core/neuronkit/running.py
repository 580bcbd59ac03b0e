"""The run journey: raw input -> preprocess -> call -> postprocess -> result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuronkit.errors import InputError
from neuronkit.manager import ask, options_class
from neuronkit.options import build, names


class Pipeline:
    """
    Raw input in, result out.

    Args:
        shell: What `neuronkit.load` returned.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self._hook = shell.session.hook
        self._options_class = options_class(self._hook)
        self._names = frozenset(names(self._options_class))
        accepted = names(self._options_class, "call")
        compiled = shell.session.manifest.plugin_options
        self._defaults = {name: value for name, value in compiled.items() if name in accepted}

    def __reduce__(self) -> tuple[type[Pipeline], tuple[Any]]:
        """Be copied and pickled as the shell is."""
        return type(self), (self.shell,)

    @property
    def option_names(self) -> list[str]:
        """The plugin's options that a call accepts."""
        return names(self._options_class, "call")

    def __call__(self, *unnamed: Any, **inputs_and_options: Any) -> Any:
        """
        Run the model.

        Args:
            *unnamed: Refused: plugins take their inputs by name.
            **inputs_and_options: What the plugin takes: ``question=`` and ``context=``, ``text=``, ``prompt=``, its options.

        Returns:
            What the plugin's `postprocess` makes of the outputs.

        Raises:
            InputError: An input has no name, is unknown, missing, or does not fit.
            OptionError: An option has a wrong value; the message has a line for each.
        """
        if unnamed:
            raise InputError(
                "A pipeline takes its inputs by name.\n"
                "Try: pipe(text=...), pipe(prompt=...) or pipe(question=..., context=...), as the task has it."
            )
        inputs: dict[str, Any] = {}
        given: dict[str, Any] = {}
        for name, value in inputs_and_options.items():
            (given if name in self._names else inputs)[name] = value
        options = build(self._options_class, {**self._defaults, **given}, "call")
        return self._run(inputs, options)

    def _run(self, inputs: Mapping[str, Any], options: Any) -> Any:
        hook = self._hook
        tensors, context = ask(hook, "preprocess", inputs=inputs, processors=self.shell.processors, options=options)
        outputs = ask(hook, "call", shell=self.shell, tensors=tensors, options=options)
        return ask(hook, "postprocess", outputs=outputs, context=context, options=options)
