from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import neuronkit_registry
from neuronkit.testing.distributions import write_distribution

LISTING = """
import json, sys
from neuronkit_registry import Family, Registry
family = Family(group="neuronkit.models", api=(1, 0), builtin="neuronkit", version="1.2.0")
registry = Registry(family, path=sys.argv[1:])
records = [[r.key, r.package, r.version, str(r.status), r.reason, r.hint] for r in registry.records()]
print(json.dumps([list(registry), records, registry.problems(), sorted(sys.modules)]))
"""
HEAVY = ("difflib", "email", "importlib.metadata", "packaging", "pluggy", "torch", "transformers", "neuronkit")


def run_python(*arguments: str, **environ: str) -> str:
    home = str(Path(neuronkit_registry.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": home, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    return result.stdout


def run_listing(path: list[Path], seed: str = "0", **environ: str) -> list[list[object]]:
    found: list[list[object]] = json.loads(run_python("-c", LISTING, *map(str, path), **environ, PYTHONHASHSEED=seed))
    return found


def write_many(folder: Path) -> list[Path]:
    """Write 30 packages of every kind into ten folders."""
    sites = [folder / f"site{i}" for i in range(10)]
    for i in range(30):
        plugins = {f"model{i % 7}.task": f"p{i}:plugin", f"own{i}.task": f"p{i}:plugin", "shared.task": f"p{i}:plugin"}
        if i % 11 == 0:
            plugins["Bad Key"] = "no target"
        group = "neuronkit.models.v2" if i % 5 == 0 else "neuronkit.models.v1"
        requires = ["torch>=2.9,<3", f"neuronkit>={i % 3}.0,<9", 'neuronkit[testing]; extra == "test"']
        write_distribution(sites[i % 10], f"package-{i}", plugins, group=group, requires=requires)
    write_distribution(sites[4], "neuronkit", {"model1.task": "builtin:plugin"}, version="1.2.0")
    return sites


def test_hash_seeds_and_shuffled_paths_give_the_same_listing(tmp_path: Path) -> None:
    sites = write_many(tmp_path)
    settings = {"NEURONKIT_PREFER": "package-8,shared.task=package-3", "NEURONKIT_DISABLE_PLUGINS": "package-1?,zz,yy"}
    expected = run_listing(sites, "0", **settings)[:3]

    assert len(expected[1]) > 90
    assert len(expected[2]) == 2
    for seed in ("1", "2", "3"):
        random.Random(int(seed)).shuffle(sites)
        assert run_listing(sites, seed, **settings)[:3] == expected


def test_listing_imports_no_plugin_and_nothing_that_is_slow(tmp_path: Path) -> None:
    bare = set(run_python("-c", "import sys, attrs, json; print(*sys.modules)").split())
    (*_, modules) = run_listing(
        write_many(tmp_path), NEURONKIT_PREFER="package-8", NEURONKIT_DISABLE_PLUGINS="package-9"
    )

    added = {str(name) for name in modules} - bare
    assert {name.partition(".")[0] for name in added} - {"fnmatch"} == {"neuronkit_registry"}
    assert not added.intersection(HEAVY)
    assert not [name for name in modules if str(name).startswith("p") and str(name)[1:].isdigit()]
