from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, DistributionFinder, PathDistribution, distributions
from pathlib import Path

import pytest

from neuronkit_registry import PluginWarning
from neuronkit_registry.installed import find_installed, location
from neuronkit_registry.scan import find_version, scan
from tests.registry.conftest import GOOD, FakeDist, MakeRegistry

KEY = "bert.question-answering"


def test_every_group_of_the_namespace_is_read(fake_dist: FakeDist, site: Path) -> None:
    text = (
        "[console_scripts]\nx = a:b\n[neuronkit.models.v1]\nb.t = m:p\na.t = m:p\n[neuronkitty.models.v1]\nc.t = m:p\n"
    )
    fake_dist("Acme.Bert", entry_points=text, requires=("torch", "neuronkit>=1"))
    fake_dist("plain", entry_points="[console_scripts]\nx = a:b\n")

    found = scan("neuronkit", [str(site)])

    assert found.problems == ()
    assert [(one.group, one.name, one.value) for one in found.declarations] == [
        ("neuronkit.models.v1", "a.t", "m:p"),
        ("neuronkit.models.v1", "b.t", "m:p"),
    ]
    assert {(one.package, one.version, one.requires) for one in found.declarations} == {
        ("Acme.Bert", "1.0", ("torch", "neuronkit>=1"))
    }


def test_an_editable_duplicate_counts_once(fake_dist: FakeDist, make_registry: MakeRegistry, tmp_path: Path) -> None:
    checkout, site = tmp_path / "checkout", tmp_path / "site"
    fake_dist("acme", {KEY: "acme_a:plugin"}, version="2.0.dev1", into=checkout)
    fake_dist("acme", {KEY: "acme_old:plugin"}, version="1.0", modules={"acme_a": GOOD})
    registry = make_registry(path=[checkout, site])

    assert [(record.version, record.status.value) for record in registry.records()] == [("2.0.dev1", "available")]
    assert registry.problems() == [
        f"acme is installed 2 times: {checkout / 'acme-2.0.dev1.dist-info'} is used, "
        f"{site / 'acme-1.0.dist-info'} ignored. "
        f"Try: pip uninstall acme until it is gone, then install it once."
    ]
    with pytest.warns(PluginWarning, match="acme is installed 2 times"):
        assert registry.resolve(KEY).info.version == "2.0.dev1"


def test_stale_metadata_of_an_older_version_counts_for_nothing(
    fake_dist: FakeDist, make_registry: MakeRegistry, site: Path
) -> None:
    for version in ("1.10", "1.9", "1.2"):
        fake_dist("acme", {KEY: f"acme_{version}:plugin", f"old.v{version[-1]}": "a:b"}, version=version)

    registry = make_registry()

    assert [record.version for record in registry.records()] == ["1.10", "1.10"]
    assert registry.problems() == [
        f"acme is installed 3 times: {site / 'acme-1.10.dist-info'} is used, "
        f"{site / 'acme-1.9.dist-info'}, {site / 'acme-1.2.dist-info'} ignored. "
        f"Try: pip uninstall acme until it is gone, then install it once."
    ]


def test_a_newer_copy_without_plugins_hides_an_older_one_with(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, version="1.0")
    fake_dist("acme", entry_points="", version="2.0")

    assert make_registry().records() == []


def test_a_folder_that_is_twice_on_the_path_is_one(
    fake_dist: FakeDist, make_registry: MakeRegistry, site: Path
) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"})
    link = site.parent / "link"
    link.symlink_to(site)

    registry = make_registry(path=[site, link, site])

    assert len(registry.records()) == 1
    assert registry.problems() == []


def test_what_an_interrupted_pip_left_is_passed_over(
    fake_dist: FakeDist, make_registry: MakeRegistry, site: Path
) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}).rename(site / "~cme-1.0.dist-info")

    assert make_registry().records() == []
    assert make_registry().problems() == []


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("METADATA", b"Name: acme\n\n", "METADATA has no Version"),
        ("METADATA", b"", "METADATA has no Name"),
        ("METADATA", None, "METADATA has no Name"),
        ("entry_points.txt", b"[neuronkit.models.v1]\n\xff = a:b\n", "'utf-8' codec can't decode"),
        ("METADATA", b"Name: \xff\n", "'utf-8' codec can't decode"),
        (
            "entry_points.txt",
            b"[neuronkit.models.v1]\na.b = c:d\nbert.fill-mask\n",
            "'bert.fill-mask' in entry_points.txt is no entry point",
        ),
    ],
)
def test_metadata_that_cannot_be_read_is_a_problem_of_its_package_alone(
    file: str, content: bytes | None, why: str, fake_dist: FakeDist, make_registry: MakeRegistry, site: Path
) -> None:
    fake_dist("good", {"good.t": "good:plugin"})
    broken = fake_dist("acme", {KEY: "acme_a:plugin"}) / file
    if content is None:
        broken.unlink()
    else:
        broken.write_bytes(content)
    registry = make_registry()

    assert list(registry) == ["good.t"]
    (problem,) = registry.problems()
    assert problem.startswith(f"{site / 'acme-1.0.dist-info'} cannot be read and is ignored ({why}")
    assert problem.endswith("Try: pip install --force-reinstall acme.")


def test_a_path_that_is_not_there(make_registry: MakeRegistry, tmp_path: Path) -> None:
    assert make_registry(path=[tmp_path / "nothing"]).records() == []


def test_find_version(fake_dist: FakeDist, site: Path) -> None:
    fake_dist("acme-bert", version="0.3.1")
    (fake_dist("odd") / "METADATA").write_text("")

    assert find_version("Acme.Bert", [str(site)]) == "0.3.1"
    assert find_version("odd", [str(site)]) is None
    assert find_version("nothing", [str(site)]) is None
    assert find_version("attrs") is not None


def test_the_same_packages_are_found_as_importlib_finds() -> None:
    ours = sorted(location(one) for one in find_installed())

    assert ours == sorted(str(one._path) for one in distributions())  # type: ignore[attr-defined]
    assert len(ours) > 20


def test_the_same_entry_points_are_read_as_importlib_reads(fake_dist: FakeDist, site: Path) -> None:
    text = """
        # a comment
        [neuronkit.models.v1]
        a.b = m:p
          indented.c=m.n:p.q [extra]

        # another
        d.e = m : p = q
        [other]
        f.g = m:p
        [ neuronkit.backends.v1 ]
        cpu = m:p
    """
    fake_dist("acme", entry_points=text)

    found = {(one.name, one.value) for one in scan("neuronkit", [str(site)]).declarations}

    (distribution,) = distributions(path=[str(site)])
    expected = {(one.name, one.value) for one in distribution.entry_points if "neuronkit" in one.group}
    assert (
        found
        == expected
        == {
            ("a.b", "m:p"),
            ("indented.c", "m.n:p.q [extra]"),
            ("d.e", "m : p = q"),
            ("cpu", "m:p"),
        }
    )


def test_the_metadata_of_setuptools_is_read(site: Path) -> None:
    egg_info = site / "acme.egg-info"
    egg_info.mkdir()
    (egg_info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 0.1.dev0\n\n")
    (egg_info / "entry_points.txt").write_text("[neuronkit.models.v1]\na.b = m:p\n")
    (site / "distutils-1.0.egg-info").write_text("Name: distutils\n")

    found = scan("neuronkit", [str(site)])

    assert [(one.package, one.version) for one in found.declarations] == [("acme", "0.1.dev0")]
    assert found.problems == ()


def test_a_zip_file_on_the_path_is_read(fake_dist: FakeDist, make_registry: MakeRegistry, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    fake_dist("acme", {KEY: "acme_z:plugin"}, into=folder, modules={"acme_z": GOOD})
    archive = tmp_path / "plugins.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for member in folder.rglob("*"):
            file.write(member, member.relative_to(folder))

    registry = make_registry(path=[archive])

    assert [record.package for record in registry.records()] == ["acme"]
    assert registry.problems() == []


def test_what_other_finders_know_is_read(fake_dist: FakeDist, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    metadata = fake_dist("acme", {"acme.hidden": "acme_a:plugin"}, into=tmp_path / "elsewhere")

    class Finder(DistributionFinder):
        def find_distributions(self, context: object = None) -> Iterator[Distribution]:
            yield PathDistribution(metadata)

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])

    assert "acme.hidden" in {one.name for one in scan("neuronkit").declarations}


def test_what_imports_pass_over_on_the_path(
    fake_dist: FakeDist, monkeypatch: pytest.MonkeyPatch, site: Path, tmp_path: Path
) -> None:
    """A `Path` on `sys.path` finds no module, so it finds no package either."""
    fake_dist("acme", {KEY: "acme_a:plugin"})
    fake_dist("other", {"other.t": "other:plugin"}, into=tmp_path / "other")
    monkeypatch.setattr(sys, "path", [str(site), tmp_path / "other"])

    assert {one.package for one in scan("neuronkit").declarations} == {"acme"}
