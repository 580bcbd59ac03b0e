"""The table of compiler flags, golden."""

from __future__ import annotations

import pytest

from neuronkit.backends.neuron import flags
from neuronkit.errors import OptionError
from neuronkit.options import CompileOptions

GOLDEN = {
    (None, "inf2"): "--target inf2 --model-type=generic --optlevel=2 --auto-cast=none",
    ("encoder", "inf2"): "--target inf2 --model-type=transformer --optlevel=2 --auto-cast=none",
    ("encoder", "trn2"): "--target trn2 --model-type=transformer --optlevel=2 --auto-cast=none --lnc=2",
    ("decoder", "inf2"): (
        "--target inf2 --model-type=transformer --optlevel=2 --auto-cast=none --enable-saturate-infinity"
    ),
    ("decoder", "trn2"): "--target trn2 --model-type=transformer --optlevel=2 --auto-cast=none --lnc=2",
    ("text_encoder", "inf2"): (
        "--target inf2 --model-type=transformer --optlevel=2 --auto-cast=none --enable-saturate-infinity "
        "--enable-fast-loading-neuron-binaries"
    ),
    ("unet", "inf2"): (
        "--target inf2 --model-type=unet-inference --optlevel=2 --auto-cast=none --enable-fast-loading-neuron-binaries"
    ),
    ("transformer", "trn1"): (
        "--target trn1 --model-type=transformer --optlevel=2 --auto-cast=none --enable-fast-loading-neuron-binaries"
    ),
    ("vae", "inf2"): (
        "--target inf2 --model-type=unet-inference --optlevel=2 --auto-cast=none --enable-fast-loading-neuron-binaries"
    ),
}
GOLDEN_LOADING = {  # fused softmax, lazy, asynchronous
    None: (False, False, False),
    "encoder": (False, False, False),
    "decoder": (False, False, False),
    "text_encoder": (False, False, True),
    "unet": (True, True, True),
    "transformer": (True, True, True),
    "vae": (True, False, True),
}


@pytest.mark.parametrize(("kind", "target"), GOLDEN)
def test_flags_by_kind(kind, target):
    assert " ".join(flags.compiler_flags(kind, CompileOptions(), target)) == GOLDEN[kind, target]


@pytest.mark.parametrize("kind", GOLDEN_LOADING)
def test_loading_and_environment_by_kind(kind):
    recipe = flags.recipe(kind)

    assert (recipe.fuse_softmax, recipe.lazy_load, recipe.async_load) == GOLDEN_LOADING[kind]
    assert flags.environment(kind, "inf2", "trn1") == ({"NEURON_FUSE_SOFTMAX": "1"} if recipe.fuse_softmax else {})


@pytest.mark.parametrize(
    ("target", "machine", "platform"),
    [("inf2", None, "trn1"), ("trn2", "trn1", "trn2"), ("trn1n", "trn2", "trn1"), ("inf2", "trn1", None)],
)
def test_the_platform_is_told_where_the_machine_is_none_of_its_family(target, machine, platform, monkeypatch):
    assert flags.environment(None, target, machine).get(flags.PLATFORM) == platform
    monkeypatch.setenv(flags.PLATFORM, "trn3")
    assert flags.environment(None, target, machine)[flags.PLATFORM] == (platform or "trn1")


def test_every_kind_has_a_golden_line():
    assert {kind for kind, _ in GOLDEN} == set(flags.RECIPES) == set(GOLDEN_LOADING)


def test_a_kind_that_is_not_in_the_table_is_generic():
    assert flags.recipe("vision_tower") == flags.recipe(None)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"auto_cast": "matmul"}, ["--auto-cast=matmult", "--auto-cast-type=bf16"]),
        ({"auto_cast": "all", "auto_cast_type": "fp16"}, ["--auto-cast=all", "--auto-cast-type=fp16"]),
        ({"auto_cast_type": "fp16"}, ["--auto-cast=none"]),
        ({"optlevel": 1}, ["--optlevel=1"]),
    ],
)
def test_options_become_flags(options, expected):
    found = flags.compiler_flags("encoder", CompileOptions(**options), "inf2")

    assert [flag for flag in found if flag.startswith(("--auto-cast", "--optlevel")) and flag in expected] == expected
    assert any(flag.startswith("--auto-cast=") for flag in found)


def test_the_callers_flags_come_last():
    options = CompileOptions(compiler_args="--optlevel=3 --verbose 'a b'")
    assert flags.compiler_flags("unet", options, "inf2")[-3:] == ["--optlevel=3", "--verbose", "a b"]


def test_flags_that_cannot_be_split_are_refused():
    with pytest.raises(OptionError, match="compiler_args: No closing quotation"):
        flags.user_flags(CompileOptions(compiler_args="--logfile 'x"))


@pytest.mark.parametrize("arguments", ["--verbose=info --target trn2", "--target=trn2"])
def test_a_target_among_the_caller_s_flags_is_refused(arguments):
    with pytest.raises(
        OptionError, match="compiler_args: --target is an option of its own, which the artifact records"
    ):
        flags.user_flags(CompileOptions(compiler_args=arguments))


def test_the_target_is_two_words_as_tracing_without_a_device_looks_for_it():
    assert flags.compiler_flags("encoder", CompileOptions(), "inf2")[:2] == ["--target", "inf2"]


def test_logical_cores():
    assert "--lnc=1" in flags.compiler_flags("encoder", CompileOptions(lnc=1), "trn2")
    assert not [flag for flag in flags.compiler_flags("encoder", CompileOptions(lnc=1), "inf2") if "lnc" in flag]
    with pytest.raises(OptionError, match=r"lnc: inf2 has 1 physical core in a logical one \(got 2\)"):
        flags.logical_cores(CompileOptions(lnc=2), "inf2")


def test_the_simulated_compiler_takes_every_line(standin):
    from torch_neuronx._compiler import parse

    for kind in flags.RECIPES:
        for target in ("inf2", "trn1", "trn2"):
            for auto_cast in ("none", "matmul", "all"):
                parse(flags.compiler_flags(kind, CompileOptions(auto_cast=auto_cast), target))
