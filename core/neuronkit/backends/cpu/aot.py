"""AOTInductor: a program compiled into a shared object, with its weights inside or apart."""

from __future__ import annotations

import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.export import ExportedProgram

from neuronkit.backends.base import CompiledGraph, Runner
from neuronkit.backends.cpu.attention import place_attention
from neuronkit.backends.cpu.bands import place_bands
from neuronkit.backends.cpu.convolutions import place_convolutions
from neuronkit.backends.cpu.folding import without_warnings_of_copies
from neuronkit.backends.cpu.host import cores
from neuronkit.backends.cpu.library.build import LIBRARY, build, open_library
from neuronkit.backends.cpu.library.operators import calls
from neuronkit.backends.cpu.literals import name_literals
from neuronkit.backends.cpu.packing import Packer, let_go, packable, take_turned
from neuronkit.backends.cpu.products import place_products
from neuronkit.environment import cache_directory, temporarily
from neuronkit.errors import ArtifactIncompatibleError, CompileError, WeightsError, compile_failures
from neuronkit.options import CompileOptions
from neuronkit.paths import named_path
from neuronkit.weights import Constant, constant

_LITERALS = "literals.safetensors"
"""Constants that belong to the graph, not to the weights."""
_KEPT_SUFFIXES = {".so", ".bin", ".blob"}


def compile(program: ExportedProgram, directory: Path, options: CompileOptions) -> CompiledGraph:
    """
    Compile a program.

    Raises:
        CompileError: Inductor or the C++ compiler failed.
    """
    inline = bool(options.inline_weights)
    own: set[str] = set()
    packed: set[str] = set()
    turned: set[str] = set()
    sums = False
    place_attention(program)
    if not inline:
        place_convolutions(program)
        sums = place_products(program)
        place_bands(program)
        turned = take_turned(program)
        own = name_literals(program)
        packed = packable(program)
    called = calls(program)
    settings: dict[str, Any] = {
        "aot_inductor.package_constants_in_so": inline,
        "always_keep_tensor_constants": not inline,
        "aot_inductor.compile_wrapper_opt_level": "O0",
        # torch names precompiled headers by a hash for which it runs openssl, and fails where there is none.
        "aot_inductor.precompile_headers": shutil.which("openssl") is not None,
        # Sums over several rows are bound by arithmetic (docs/decisions/0013).
        "cpp.enable_floating_point_contract_flag": "fast" if sums else "off",
        # Otherwise the code asks for as many threads as this process happens to run, which is one where several compile.
        "cpp.dynamic_threads": True,
        "cpp.threads": cores(),
        "freezing": inline,
        "max_autotune": options.optlevel == 3,
        "aot_inductor.custom_ops_to_c_shims": called,
    }
    with tempfile.TemporaryDirectory(dir=_place(options)) as workdir, ThreadPoolExecutor(1) as beside:
        kept = _inductor_cache(options, workdir)
        library = beside.submit(build, kept) if called else None
        failures = compile_failures("AOTInductor could not compile the graph")
        cache = temporarily("TORCHINDUCTOR_CACHE_DIR", str(kept))
        with failures, cache, torch.no_grad(), without_warnings_of_copies():
            package = torch._inductor.aoti_compile_and_package(
                program, package_path=str(Path(workdir) / "graph.pt2"), inductor_configs=settings
            )
        with zipfile.ZipFile(package) as opened:
            for member in opened.namelist():
                if Path(member).suffix in _KEPT_SUFFIXES:
                    (directory / Path(member).name).write_bytes(opened.read(member))
        shared_object = _only(sorted(directory.glob("*.so")))
        if library is not None:
            shutil.copyfile(library.result(), directory / LIBRARY)
            open_library(directory / LIBRARY)
    constants: list[Constant] = []
    if not inline:
        names = _open(shared_object).get_constant_names_to_original_fqns().values()
        held = {**program.state_dict, **program.constants}
        missing = sorted(set(names) - set(held))
        if missing:
            raise CompileError(
                f"The compiled graph keeps constants that the program does not have: {', '.join(missing)}."
            )
        held |= {name: held[name].t() for name in turned}
        constants = [
            constant(name, held[name], packed=name in packed, turned=name in turned)
            for name in sorted(set(names) - own)
        ]
        if literals := {name: program.constants[name] for name in sorted(set(names) & own)}:
            save_file(literals, directory / _LITERALS)
    return CompiledGraph(directory, shared_object.name, tuple(constants))


def _place(options: CompileOptions) -> Path | None:
    """
    Return where the compiler's own files go; None for the system's temporary directory.

    Raises:
        CompileError: It was asked for, and cannot be made.
    """
    if options.compiler_workdir is None:
        return None
    place = named_path(options.compiler_workdir, "compiler_workdir")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CompileError(
            f"compiler_workdir: {place} cannot be made: {error.strerror}.\nTry: another directory."
        ) from error
    return place


def _inductor_cache(options: CompileOptions, workdir: str) -> Path:
    """Return where Inductor's cache is: under neuronkit's, or, where that cannot be written and was not asked for, in `workdir`."""
    directory = cache_directory() / "inductor"
    if not options.cache:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError:
            directory = Path(workdir) / "inductor"
    for variable, path in (("NEURONKIT_CACHE", str(directory)), ("TMPDIR", tempfile.gettempdir())):
        if len(path.split()) > 1:
            raise CompileError(
                f"Inductor's command for the C++ compiler takes no path with a space, such as {path!r}.\n"
                f"Try: {variable}=DIR with another directory, or --optlevel 1, which compiles nothing."
            )
    return directory


def load(
    file: Path, constants: Sequence[Constant], weights: Mapping[str, torch.Tensor], packer: Packer | None = None
) -> Runner:
    """
    Open a shared object and bind its weights.

    The flat runner is used because the public wrapper parses a JSON specification on every call.

    Args:
        file: The shared object.
        constants: What it leaves outside.
        weights: By name.
        packer: Packs the constants that say so; None leaves them as they are stored.

    Raises:
        ArtifactIncompatibleError: The system's linker cannot open it, as where a library is missing or older.
        WeightsError: The graph has constants that the manifest does not name.
    """
    try:
        if (library := file.with_name(LIBRARY)).exists():
            open_library(library)
        runner = _open(file)
    except (OSError, RuntimeError) as error:
        raise ArtifactIncompatibleError(f"{file.name} cannot be opened: {str(error).splitlines()[0]}") from error
    if not constants:
        return _Bound(runner, {}, {})
    literals = load_file(file.with_name(_LITERALS)) if file.with_name(_LITERALS).exists() else {}
    held = {wanted.name: weights[wanted.name] for wanted in constants} | literals
    names = runner.get_constant_names_to_original_fqns()
    if unbound := sorted(set(names.values()) - set(held)):
        raise WeightsError(f"The manifest does not name every constant of {file.name}: {', '.join(unbound)}.")
    taken = {wanted.name: make for wanted in constants if (make := _taken(wanted, packer))}
    bound = _Bound(runner, names, taken)
    bound.rebind(held, all_of_them=True)
    return bound


def _taken(wanted: Constant, packer: Packer | None) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return what makes of a weight the tensor that the graph takes, or None if it takes the weight."""
    if wanted.packed and packer is not None:
        return partial(packer.pack, turned=wanted.turned)
    return torch.t if wanted.turned else None


class _Bound:
    """
    A runner together with views of the tensors whose memory it uses.

    torch never lets go of a tensor that it was given to use and not to own (2.13: `MaybeOwningAtenTensorHandle` in
    ``aoti_runtime/utils.h`` makes a handle that nobody deletes). So it is given views, and loses their memory with this object.

    Args:
        runner: The opened shared object.
        names: In the traced module, by what the runner calls each weight.
        taken: What makes of a weight the tensor that is bound, by name in the traced module; others are bound as they are.
    """

    __slots__ = ("__weakref__", "_names", "_run", "_runner", "_taken", "_views")

    def __init__(
        self, runner: Any, names: Mapping[str, str], taken: Mapping[str, Callable[[torch.Tensor], torch.Tensor]]
    ) -> None:
        self._run = runner.run
        self._runner = runner
        self._names = names
        self._taken = taken
        self._views: dict[str, torch.Tensor] = {}
        weakref.finalize(self, let_go, self._views).atexit = False

    def __call__(self, tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        # Compiled code takes its inputs for contiguous and does not look.
        return self._run([tensor.contiguous() for tensor in tensors])

    def rebind(self, tensors: Mapping[str, torch.Tensor], *, all_of_them: bool = False) -> None:
        """Use these tensors from now on; see `neuronkit.backends.base.Rebindable`."""
        views = {
            name: (self._taken[name](tensor) if name in self._taken else tensor).detach()
            for name, tensor in tensors.items()
        }
        named = {key: views[name] for key, name in self._names.items() if name in views}
        self._runner.update_constant_buffer(named, False, all_of_them, True)
        replaced = {name: self._views[name] for name in views if name in self._views}
        self._views.update(views)
        let_go(replaced)


def _open(file: Path) -> Any:
    return torch._C._aoti.AOTIModelContainerRunnerCpu(str(file), 1)


def _only(files: list[Path]) -> Path:
    if len(files) != 1:
        raise CompileError(
            f"AOTInductor was expected to write one shared object (got {[file.name for file in files]})."
        )
    return files[0]
