"""
The compiler's flags by component kind: one table, and the order in which they are written. Nothing here looks at a
name.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from neuronkit.backends.neuron.targets import DEFAULT_LOGICAL_CORES, family
from neuronkit.errors import OptionError

if TYPE_CHECKING:
    from neuronkit.options import CompileOptions


@attrs.frozen
class Recipe:
    """
    How a kind of component is compiled and loaded.

    Args:
        model_type: Of the compiler.
        saturate_infinity: Keep infinities in masks from turning into NaN, on chips that need it.
        fast_loading: Leave the binary uncompressed: larger, quicker to load.
        fuse_softmax: Let the lowering fuse softmax.
        lazy_load: Load at the first call.
        async_load: Load in the background.

    """

    model_type: str = "generic"
    saturate_infinity: bool = False
    fast_loading: bool = False
    fuse_softmax: bool = False
    lazy_load: bool = False
    async_load: bool = False


RECIPES: Mapping[str | None, Recipe] = {
    None: Recipe(),
    "encoder": Recipe("transformer"),
    "decoder": Recipe("transformer", saturate_infinity=True),
    "text_encoder": Recipe("transformer", saturate_infinity=True, fast_loading=True, async_load=True),
    "unet": Recipe("unet-inference", fast_loading=True, fuse_softmax=True, lazy_load=True, async_load=True),
    "transformer": Recipe("transformer", fast_loading=True, fuse_softmax=True, lazy_load=True, async_load=True),
    "vae": Recipe("unet-inference", fast_loading=True, fuse_softmax=True, async_load=True),
}
"""`Graph.kind` -> recipe; a kind that is not listed gets the first."""

VARIABLE = "NEURON_CC_FLAGS"
"""The variable with flags for whatever compiles; a compilation here does not see it."""
PLATFORM = "NEURON_PLATFORM_TARGET_OVERRIDE"
"""The variable that tells Neuron's libraries what to compile for."""
_AUTO_CAST = {"none": "none", "matmul": "matmult", "all": "all"}


def recipe(kind: str | None) -> Recipe:
    """Return the recipe of a component kind."""
    return RECIPES.get(kind, RECIPES[None])


def compiler_flags(kind: str | None, options: CompileOptions, target: str) -> list[str]:
    """
    Return the flags for one graph, the caller's own last, so that they win.

    What to cast is always said: the compiler's default changed between releases. The target is two words, as tracing without a
    device looks for it.

    Args:
        kind: `Graph.kind`.
        options: The core's options.
        target: One of `targets.TARGETS`.

    """
    chosen = recipe(kind)
    flags = ["--target", target, f"--model-type={chosen.model_type}", f"--optlevel={options.optlevel}"]
    flags.append(f"--auto-cast={_AUTO_CAST[options.auto_cast]}")
    if options.auto_cast != "none":
        flags.append(f"--auto-cast-type={options.auto_cast_type}")
    if family(target) == "trn2":
        flags.append(f"--lnc={logical_cores(options, target)}")
    if chosen.saturate_infinity and family(target) == "trn1":
        flags.append("--enable-saturate-infinity")
    if chosen.fast_loading:
        flags.append("--enable-fast-loading-neuron-binaries")
    return flags + user_flags(options)


def user_flags(options: CompileOptions) -> list[str]:
    """
    Return the caller's own flags.

    Raises:
        OptionError: They cannot be split into words, or name a target, which the artifact would not know.

    """
    try:
        words = shlex.split(options.compiler_args or "")
    except ValueError as error:
        raise OptionError(f"compiler_args: {error} (got {options.compiler_args!r}).") from error
    if any(word.partition("=")[0] == "--target" for word in words):
        raise OptionError(
            f"compiler_args: --target is an option of its own, which the artifact records (got {options.compiler_args!r}). "
            "Try: --target without --compiler-args."
        )
    return words


def logical_cores(options: CompileOptions, target: str) -> int:
    """
    Return how many physical cores a graph runs on.

    Raises:
        OptionError: The target cannot do it.

    """
    default = DEFAULT_LOGICAL_CORES[family(target)]
    lnc = options.lnc or default
    if lnc > default:
        raise OptionError(f"lnc: {target} has {default} physical core in a logical one (got {lnc}).")
    return lnc


def environment(kind: str | None, target: str, machine: str | None) -> dict[str, str]:
    """
    Return the variables that are set for the compilation of a kind, and for nothing else.

    Args:
        kind: `Graph.kind`.
        target: One of `targets.TARGETS`.
        machine: The architecture of this machine's cores, or None. For another one Neuron's libraries have to be told the
            platform before they are imported, and would otherwise look for it in the firmware.

    """
    variables = {"NEURON_FUSE_SOFTMAX": "1"} if recipe(kind).fuse_softmax else {}
    if machine != family(target) or PLATFORM in os.environ:
        variables[PLATFORM] = family(target)
    return variables
