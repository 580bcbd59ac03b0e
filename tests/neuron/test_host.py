"""Devices, read from a tree of files."""

from __future__ import annotations

import pytest

from neuronkit.backends.neuron.host import Host
from neuronkit.backends.neuron.targets import parse_target
from neuronkit.errors import OptionError
from tests.standin.simulation import build_machine, write


def test_an_inf2(tmp_path):
    host = Host(build_machine(tmp_path, "inf2.24xlarge"))

    assert [node.name for node in host.device_nodes()] == [f"neuron{chip}" for chip in range(6)]
    assert (host.instance_type(), host.target(), host.architecture()) == ("inf2.24xlarge", "inf2", "trn1")
    assert (host.physical_cores(), host.logical_cores(), host.cores(), host.expected_chips()) == (12, 1, 12, 6)
    assert host.driver_loaded()
    assert host.driver_version() == "2.29.0.0-simulated"


def test_a_laptop(tmp_path):
    host = Host(build_machine(tmp_path))

    assert host.device_nodes() == []
    assert (host.instance_type(), host.target(), host.cores(), host.driver_version()) == (None, None, 0, None)
    assert not host.driver_loaded()


def test_an_empty_tree(tmp_path):
    host = Host(tmp_path / "missing")

    assert host.device_nodes() == []


def test_trn2_joins_two_cores_unless_told_otherwise(tmp_path, monkeypatch):
    host = Host(build_machine(tmp_path, "trn2.3xlarge"))

    assert (host.physical_cores(), host.cores()) == (8, 4)
    monkeypatch.setenv("NEURON_LOGICAL_NC_CONFIG", "1")
    assert host.cores() == 8


def test_a_server_of_an_ultraserver_is_a_trn2(tmp_path):
    write(tmp_path / "sys/devices/virtual/dmi/id/product_name", "trn2u.48xlarge")
    host = Host(tmp_path)
    assert (host.instance_type(), host.target(), host.architecture()) == ("trn2u.48xlarge", "trn2", "trn2")
    assert host.expected_chips() == 16
    assert parse_target("trn2u.48xlarge") == "trn2"


def test_a_container_without_firmware_asks_the_driver(tmp_path):
    root = build_machine(tmp_path, "trn1.2xlarge")
    (root / "sys/devices/virtual/dmi/id/product_name").unlink()

    assert (Host(root).instance_type(), Host(root).architecture(), Host(root).target()) == (None, "trn1", "trn1")


def test_another_machine_of_the_same_maker_is_no_neuron_instance(tmp_path):
    write(tmp_path / "sys/devices/virtual/dmi/id/product_name", "m5.large")
    assert Host(tmp_path).instance_type() is None


@pytest.mark.parametrize("name", ["neuron", "neuronx", "neuron_monitor"])
def test_other_device_files_do_not_count(tmp_path, name):
    write(tmp_path / "dev" / name, "")
    assert Host(tmp_path).device_nodes() == []


def test_chips_sort_by_number(tmp_path):
    for chip in (10, 2, 0):
        write(tmp_path / f"dev/neuron{chip}", "")
    assert [node.name for node in Host(tmp_path).device_nodes()] == ["neuron0", "neuron2", "neuron10"]


def test_a_root_that_is_not_there(tmp_path, monkeypatch):
    """Nothing found in it would look like a machine without Neuron."""
    monkeypatch.setenv("NEURONKIT_HOST_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(OptionError) as raised:
        Host()
    assert str(raised.value) == (
        f"NEURONKIT_HOST_ROOT must be the directory that stands for / (there is none {str(tmp_path / 'nowhere')!r})."
    )


def test_the_root_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("NEURONKIT_HOST_ROOT", str(build_machine(tmp_path, "inf2.xlarge")))
    assert Host().instance_type() == "inf2.xlarge"
