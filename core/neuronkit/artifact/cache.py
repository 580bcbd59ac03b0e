"""
The content-addressed cache of compiled graphs.

An entry's key is made of everything that the compiled graph depends on and of nothing else: never a model's id or path (a plugin's
options count as they were given). A graph without its weights depends on their signature alone, so a fine-tuned sibling finds its
graph here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
from cattrs import BaseValidationError

from neuronkit.artifact.locking import Sharing, lock_directory
from neuronkit.artifact.manifest import CompiledBucket, File, structure, unstructure
from neuronkit.artifact.store import atomic_directory, clear_up, describe, file_digest
from neuronkit.backends.base import CompiledGraph
from neuronkit.buckets import Bucket
from neuronkit.environment import cache_directory
from neuronkit.errors import ArtifactWriteError

_RECORD = "graph.json"


@attrs.frozen
class CacheEntry:
    """
    A compiled graph in the cache.

    Args:
        key: SHA-256 of what it depends on.
        directory: Where its files are.
        record: What the manifest says of it; file names are relative to `directory`.
        label: Key, graph and bucket, for people.
        hit: True when nothing was compiled.
    """

    key: str
    directory: Path
    record: CompiledBucket
    label: str
    hit: bool = False


def content_key(parts: Any) -> str:
    """
    Return the SHA-256 of JSON-like data, independent of the order of its keys.

    Raises:
        TypeError: There is something else in it, which would have a text of its own in every process.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class GraphCache:
    """
    Compiled graphs by content.

    Args:
        root: The cache's directory; None takes the one of the environment.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_directory()
        self._graphs = self.root / "graphs"

    def __contains__(self, key: str) -> bool:
        """Tell whether there is an entry; whether it is whole is found out when it is read."""
        return (self._graphs / key / _RECORD).is_file()

    def get_or_compile(
        self,
        key: str,
        label: str,
        bucket: Bucket,
        compile: Callable[[Path], CompiledGraph],
        use: Callable[[CacheEntry], None] = lambda _: None,
    ) -> CacheEntry:
        """
        Return an entry, compiling it if it is not there or damaged. Processes that ask for the same key take turns.

        Args:
            key: From `content_key`.
            label: For people.
            bucket: What is compiled.
            compile: Writes the graph's files into the directory that it is given.
            use: Gets the entry while nobody can remove it.

        Raises:
            ArtifactWriteError: The cache cannot be written, and does not hold the entry.
        """
        from filelock import FileLock

        lock = FileLock(self._graphs / f"{key}.lock")
        try:
            self._graphs.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            if entry := self._read(
                self._graphs / key, _has_digest
            ):  # in a cache that nobody can write, nobody removes it
                use(entry)
                return attrs.evolve(entry, hit=True)
            raise ArtifactWriteError(
                f"The cache {self.root} cannot be written: {error.strerror}.\n"
                "Try: NEURONKIT_CACHE=DIR with another directory, or --no-cache."
            ) from error
        try:
            entry = self._found_or_compiled(key, label, bucket, compile)
            use(entry)
        finally:
            lock.release()
        return entry

    def _found_or_compiled(
        self, key: str, label: str, bucket: Bucket, compile: Callable[[Path], CompiledGraph]
    ) -> CacheEntry:
        directory = self._graphs / key
        if entry := self._read(directory, _has_digest):
            return attrs.evolve(entry, hit=True)
        if directory.is_symlink() or directory.is_file():  # nobody writes such an entry
            directory.unlink()
        with atomic_directory(directory, force=True) as temporary:
            shared = cache_directory()  # also of a private cache: the compilers' caches lie there
            with suppress(OSError):
                shared.mkdir(parents=True, exist_ok=True)
            with _locked(shared, Sharing.SHARED):
                record = make_record(compile(temporary), bucket)
            text = json.dumps({"label": label, "record": unstructure(record)}, indent=1)
            (temporary / _RECORD).write_text(text, encoding="utf-8")
        return CacheEntry(key, directory, record, label)

    def _read(self, directory: Path, is_as_written: Callable[[Path, File], bool]) -> CacheEntry | None:
        try:
            found = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
            record = structure(found["record"], CompiledBucket)
            whole = all(is_as_written(directory / file.file, file) for file in record.files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, BaseValidationError):
            return None  # damaged, or of another version
        return CacheEntry(directory.name, directory, record, found["label"]) if whole else None

    def entries(self) -> list[CacheEntry]:
        """Return what is in the cache, sorted by label; of its files, the sizes alone are compared."""
        folders = [path for path in self._graphs.glob("*") if path.is_dir() and not path.name.startswith(".")]
        found = [self._read(folder, _has_size) for folder in folders]
        return sorted((entry for entry in found if entry), key=lambda entry: (entry.label, entry.key))

    def size(self) -> int:
        """Return the bytes on disk, compiler caches included; what others remove meanwhile does not count."""
        total = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                with suppress(FileNotFoundError):
                    total += os.stat(os.path.join(folder, name)).st_size
        return total

    def clear(self) -> None:
        """
        Remove every compiled graph that nobody is using or compiling, what was left half written, and logs.

        The compiler's caches go when no process is compiling anything.
        """
        from filelock import FileLock, Timeout

        # An entry is called KEY, its lock KEY.lock, and what is being written .KEY.writing-xxxxxxxx.
        for key in {path.name.strip(".").partition(".")[0] for path in self._graphs.glob("*")}:
            lock = self._graphs / f"{key}.lock"
            with suppress(Timeout), FileLock(lock, timeout=0):
                shutil.rmtree(self._graphs / key, ignore_errors=True)
                clear_up(self._graphs / key)
                lock.unlink(missing_ok=True)
        for name in ("logs", "validated"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        with _locked(self.root, Sharing.ALONE) as alone:
            if alone:
                shutil.rmtree(self.root / "inductor", ignore_errors=True)


def _has_size(path: Path, file: File) -> bool:
    return path.stat().st_size == file.size


def _has_digest(path: Path, file: File) -> bool:
    return file_digest(path) == file.sha256


@contextmanager
def _locked(root: Path, sharing: Sharing) -> Iterator[bool]:
    """
    Lock a cache's directory: shared while compiling, with or without its entries, and alone to remove the compilers' caches.

    Yields whether it is locked: one that cannot be opened holds nothing to lock.
    """
    lock = None
    with suppress(OSError):
        lock = lock_directory(root, sharing)
    try:
        yield lock is not None and lock.held
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def private_cache() -> Iterator[GraphCache]:
    """Yield a cache that lasts as long as the block, for ``cache=False``."""
    with tempfile.TemporaryDirectory(prefix="neuronkit-") as directory:
        yield GraphCache(Path(directory))


def make_record(compiled: CompiledGraph, bucket: Bucket) -> CompiledBucket:
    """Describe the files that a backend wrote."""
    files: list[File] = [
        describe(path, compiled.directory) for path in sorted(compiled.directory.rglob("*")) if path.is_file()
    ]
    return CompiledBucket(
        sizes=dict(bucket.sizes),
        bounds=dict(bucket.bounds),
        entry=compiled.entry,
        files=files,
        constants=list(compiled.constants),
    )


def copy_into(entry: CacheEntry, root: Path, prefix: str) -> CompiledBucket:
    """Copy an entry's files under ``root/prefix`` and return its record with names relative to `root`."""
    for file in entry.record.files:
        target = root / prefix / file.file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(entry.directory / file.file, target)
    files = [attrs.evolve(file, file=os.path.join(prefix, file.file)) for file in entry.record.files]
    return attrs.evolve(entry.record, entry=os.path.join(prefix, entry.record.entry), files=files)
