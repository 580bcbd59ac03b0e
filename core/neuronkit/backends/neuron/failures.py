"""From the compiler's exit status and ``NCC_...`` codes, and the run time's statuses, to a cause and a cure: three tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

_CODE = re.compile(r"\bNCC_[A-Z]{3,5}\d{3}\b")
_STATUS = re.compile(r"neuronx-cc failed with (-?\d+)")
_RUN_STATUS = re.compile(r"\bstatus=(\d+)\b")
_LOG_SUFFIXES = {".log", ".txt"}


@attrs.frozen
class Failure:
    """
    A known way to fail.

    Args:
        cause: What the compiler means.
        cure: What to try next.

    """

    cause: str
    cure: str


_OPERATOR = Failure(
    "an operator that Neuron does not have",
    "`neuronkit check` names it; replace it in the plugin's wrapper (topk instead of sort)",
)
_DTYPE = Failure(
    "a data type that the operator or the chip does not have", "cast to float32, bfloat16 or int32 in the wrapper"
)
_SIZE = Failure(
    "more instructions than one program may have", "--optlevel 1, a smaller batch or resolution, or two graphs"
)
_MEMORY = Failure(
    "the graph needs more memory than the device has",
    "a smaller batch or shorter sequence, --auto-cast, or bfloat16 weights",
)
_DILATED = Failure("a dilated convolution of a form that is not supported", "rewrite the convolution in the wrapper")
_WINDOW = Failure("a reduce-window (pooling) of a form that is not supported", "another pooling in the wrapper")
_SCATTER = Failure("a scatter-reduce on integers", "reduce in float32 and cast back")
_DOWNCAST = Failure("64-bit integers that do not fit 32 bits", "int32 in the wrapper, or values below 2**31")
_CUSTOM = Failure("a custom call that the compiler does not know", "remove custom kernels from the model")

CODES: Mapping[str, Failure] = {
    "NCC_EARG001": Failure("a logical core configuration that the target does not have", "--lnc 1 on inf2 and trn1"),
    "NCC_EBVF030": _SIZE,
    "NCC_EHCA005": _CUSTOM,
    "NCC_EMOD025": Failure("a shape that depends on data", "fixed shapes: no nonzero, unique, boolean-mask indexing"),
    "NCC_EOOM001": _MEMORY,
    "NCC_EOOM002": _MEMORY,
    "NCC_ESFH002": Failure("an unsigned 64-bit constant", "int32 in the wrapper"),
    "NCC_ESPP004": _DTYPE,
    "NCC_ESPP047": _DTYPE,
    "NCC_EUOC002": _OPERATOR,
    "NCC_EVRF001": _OPERATOR,
    "NCC_EVRF004": Failure("complex numbers", "rewrite with cosine and sine (rotary embeddings)"),
    "NCC_EVRF005": _DTYPE,
    "NCC_EVRF006": Failure(
        "a random number algorithm that is not supported", "draw noise on the host, switch dropout off"
    ),
    "NCC_EVRF007": _SIZE,
    "NCC_EVRF009": _MEMORY,
    "NCC_EVRF010": _DILATED,
    "NCC_EVRF011": _DILATED,
    "NCC_EVRF013": Failure("topk on integers", "cast to float32 before topk"),
    "NCC_EVRF015": _CUSTOM,
    "NCC_EVRF016": _SCATTER,
    "NCC_EVRF017": _WINDOW,
    "NCC_EVRF018": _WINDOW,
    "NCC_EVRF019": _WINDOW,
    "NCC_EVRF022": Failure("a shift of integers that are not 32 bits wide", "int32 in the wrapper"),
    "NCC_EVRF029": _OPERATOR,
    "NCC_EVRF031": Failure("a scatter beyond the end of its target", "check positions and sizes of the cache"),
    "NCC_EVRF035": _DOWNCAST,
    "NCC_EVRF056": Failure(
        "a gather beyond the end of its table", "a sequence_length not above the model's max_position_embeddings"
    ),
    "NCC_EVRF059": Failure(
        "a kernel's file is missing in the compiler's cache", "compile again with an empty compiler_workdir"
    ),
    "NCC_EVRF060": _SCATTER,
    "NCC_EVRF061": _DOWNCAST,
    "NCC_EVRF062": _DOWNCAST,
    "NCC_EVRF063": _DOWNCAST,
    "NCC_EXSP001": _MEMORY,
    "NCC_EXTP004": _SIZE,
}
"""Documented codes, and one that was seen in the field (EVRF029)."""

_KILLED = Failure(
    "the compiler was killed, most likely because the machine ran out of memory",
    "a machine with more memory or swap (compiling needs no Neuron device), fewer --jobs, or --optlevel 1",
)
STATUSES: Mapping[int, Failure] = {
    -11: Failure(
        "the compiler crashed (segmentation fault), or tracing did, at an operator that torch-xla has no lowering for",
        "`neuronkit check` where torch-xla is installed, which names such operators; --optlevel 1, or another release",
    ),
    -9: _KILLED,
    -6: Failure("the compiler aborted", "--optlevel 1, or another release of neuronx-cc"),
    2: Failure(
        "a flag that this compiler does not take", "check compiler_args; every other flag is listed in docs/neuron.md"
    ),
    70: Failure("the compiler refused the graph or met an error of its own", "read its log, or `neuronkit check`"),
    137: _KILLED,
}
"""Exit statuses; a negative one is the number of a signal."""


RUN_STATUSES: Mapping[int, Failure] = {
    4: Failure(
        "the core has no memory left",
        "fewer or smaller sizes in the artifact, bfloat16 weights, or placement on another core; weights that are inside count "
        "once for every size",
    ),
    5: Failure("it took too long", "NEURON_RT_EXEC_TIMEOUT=SECONDS, and neuron-top for what else runs on the core"),
    9: Failure("there are not enough cores", "NEURON_RT_VISIBLE_CORES with more of them, and neuronkit doctor"),
    10: Failure(
        "the run time does not know this form of binary",
        "aws-neuronx-runtime-lib of the release that compiled it, or compile again with the compiler of this machine's",
    ),
    101: Failure("the core failed and cannot go on", "a new process; if it happens again, another instance"),
    1003: Failure("the result holds NaN", "compile with --auto-cast none, then with --optlevel 1"),
    1005: Failure("another process uses the core", "one process per core, with NEURON_RT_VISIBLE_CORES"),
    1006: Failure(
        "an index beyond the end of its table", "ids below the model's vocabulary, positions below its maximum"
    ),
}
"""Documented statuses of the run time (``NRT_STATUS``) that a user can do something about."""


def run_failure(reason: str) -> Failure | None:
    """Return what the status in an error of the run time means, or None."""
    found = _RUN_STATUS.search(reason)
    return RUN_STATUSES.get(int(found.group(1))) if found else None


def status_of(message: str) -> int | None:
    """Return the compiler's exit status out of the error that tracing raises."""
    found = _STATUS.search(message)
    return int(found.group(1)) if found else None


def codes_in(files: Iterable[Path]) -> tuple[str, ...]:
    """Return the codes in logs, each once, in the order in which they occur."""
    found: dict[str, None] = {}
    for file in files:
        found |= dict.fromkeys(_CODE.findall(file.read_text(encoding="utf-8", errors="replace")))
    return tuple(found)


def logs_below(directory: Path) -> list[Path]:
    """Return the compiler's own logs in its work directory, sorted."""
    return sorted(file for file in directory.rglob("*") if file.is_file() and file.suffix in _LOG_SUFFIXES)


def explain(status: int | None, codes: Iterable[str]) -> str | None:
    """
    Return one line of cause and cure for each known code, or else for the status.

    None means that neither is known.
    """
    known = [f"{code}: {CODES[code].cause}.\nTry: {CODES[code].cure}." for code in codes if code in CODES]
    if known:
        return "\n".join(known)
    unknown = [code for code in codes if code not in CODES]
    suffix = f" ({', '.join(unknown)}: not a documented code)" if unknown else ""
    if status is not None and status in STATUSES:
        return f"{STATUSES[status].cause}{suffix}.\nTry: {STATUSES[status].cure}."
    return None
