"""The simulated ``neuronx-cc``: it checks its flags and the graph's operators, and writes a log."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch_neuronx import _settings
from torch_neuronx._refusals import scan

_CHOICES = {
    "--target": ("inf2", "trn1", "trn1n", "trn2"),
    "--model-type": ("generic", "transformer", "unet-inference"),
    "--auto-cast": ("none", "matmult", "all"),
    "--auto-cast-type": ("bf16", "fp16", "tf32", "fp8_e4m3"),
    "--optlevel": ("1", "2", "3"),
    "-O": ("1", "2", "3"),
    "--lnc": ("1", "2"),
    "-lnc": ("1", "2"),
    "--logical-nc-config": ("1", "2"),
    "--logfile": None,
    "--verbose": None,
}
_SWITCHES = {
    "--enable-saturate-infinity",
    "--enable-mixed-precision-accumulation",
    "--disable-mixed-precision-accumulation",
    "--enable-fast-loading-neuron-binaries",
    "--enable-fast-context-switch",
}


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """Return the values of the flags, the rightmost winning; an unknown one ends the compilation."""
    found: dict[str, str] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word in _SWITCHES:
            found[word] = ""
            continue
        if word.startswith("-O") and len(word) == 3:
            word, value = "-O", word[2]
        elif "=" in word:
            word, _, value = word.partition("=")
        elif word in _CHOICES and words:
            value = words.pop(0)
        else:
            value = ""
        choices = _CHOICES.get(word, ())
        if choices is not None and value not in choices:
            print(f"neuronx-cc: error: argument {word}: invalid choice {value!r} (simulated)", file=sys.stderr)
            raise RuntimeError("neuronx-cc failed with 2")
        found[{"-O": "--optlevel", "--logical-nc-config": "--lnc", "-lnc": "--lnc"}.get(word, word)] = value
    return found


def compile(graph: Any, flags: dict[str, str], workdir: Path, *, partitioned: bool) -> None:
    """
    Refuse a graph as the compiler would, or do nothing.

    Raises:
        RuntimeError: ``neuronx-cc failed with <code>``; the log in the work directory and stderr hold the reason.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "command.txt").write_text(" ".join(["neuronx-cc", "compile", *(f"{k}={v}" for k, v in flags.items())]))
    order = _settings.failure(workdir)
    if order == "timeout":
        print("neuronx-cc: compiling (simulated, will not end)", file=sys.stderr, flush=True)
        while True:
            time.sleep(60)
    if order is not None:
        status, _, code = order.partition(":")
        _fail(int(status), code or None, "injected failure", workdir)
    if flags.get("--lnc") == "2" and flags.get("--target") != "trn2":
        _fail(70, "NCC_EARG001", "unsupported logical core configuration", workdir)
    _, refused = scan(graph)
    if refused and not partitioned:
        _fail(70, refused[0].code, refused[0].reason, workdir)
    (workdir / "log-neuron-cc.txt").write_text("Compiler status PASS (simulated)\n")


def _fail(status: int, code: str | None, reason: str, workdir: Path) -> None:
    text = f"[ERROR] [{code}] {reason}" if code else signal.Signals(-status).name if status < 0 else reason
    text += " (simulated)"
    (workdir / "log-neuron-cc.txt").write_text(text + "\n")
    print(text, file=sys.stderr, flush=True)
    raise RuntimeError(f"neuronx-cc failed with {status}")
