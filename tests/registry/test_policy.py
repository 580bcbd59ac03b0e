from __future__ import annotations

import itertools
import random

import attrs
import pytest

from neuronkit_registry import Origin, PluginInfo, Status
from neuronkit_registry.environment import Settings, read_settings
from neuronkit_registry.policy import assess, find_problems, find_warnings, find_winner, settle
from neuronkit_registry.scan import Declaration
from tests.registry.conftest import BACKENDS, MODELS

KEY = "bert.question-answering"


def declare(
    package: str,
    key: str = KEY,
    value: str = "module:plugin",
    *,
    group: str = "neuronkit.models.v1",
    version: str = "1.0",
    requires: tuple[str, ...] = (),
) -> Declaration:
    return Declaration(group, key, value, package, version, requires)


def judge(*declarations: Declaration, **environ: str) -> list[PluginInfo]:
    settings = read_settings(environ)
    return settle(assess(declarations, MODELS, settings), settings)


def statuses(*declarations: Declaration, **environ: str) -> dict[str | None, str]:
    return {record.package: record.status.value for record in judge(*declarations, **environ)}


def test_a_single_third_party_is_available() -> None:
    (record,) = judge(declare("acme", version="0.3.1"))

    assert record == PluginInfo(
        key=KEY,
        architecture="bert",
        task="question-answering",
        target="module:plugin",
        package="acme",
        version="0.3.1",
        api=1,
        origin=Origin.PACKAGE,
    )


def test_two_third_parties_conflict() -> None:
    first, second = judge(declare("zeta"), declare("acme"))

    assert (first.package, first.status) == ("acme", Status.CONFLICT)
    assert first.reason == "also offered by zeta 1.0"
    assert first.hint == "set NEURONKIT_PREFER=bert.question-answering=acme, or ask for 'bert.question-answering@acme'"
    assert (second.package, second.status, second.reason) == ("zeta", Status.CONFLICT, "also offered by acme 1.0")


def test_the_builtin_comes_before_third_parties() -> None:
    assert statuses(declare("acme"), declare("neuronkit"), declare("zeta")) == {
        "acme": "shadowed",
        "neuronkit": "available",
        "zeta": "shadowed",
    }


@pytest.mark.parametrize("wanted", ["acme", f"{KEY}=acme", "zzz, acme", f"zeta, {KEY}=ACME"])
def test_the_preferred_package_comes_before_the_builtin(wanted: str) -> None:
    found = statuses(declare("acme"), declare("neuronkit"), declare("zeta"), NEURONKIT_PREFER=wanted)

    assert found == {"acme": "available", "neuronkit": "shadowed", "zeta": "shadowed"}


def test_a_preference_for_another_key_changes_nothing() -> None:
    found = statuses(declare("acme"), declare("neuronkit"), NEURONKIT_PREFER="gpt2.text-generation=acme")

    assert found == {"acme": "shadowed", "neuronkit": "available"}


def test_a_shadowed_plugin_says_by_what_and_how_to_get_it() -> None:
    records = judge(declare("acme"), declare("neuronkit", version="1.2.0"), NEURONKIT_PREFER="acme")

    assert records[1].reason == "NEURONKIT_PREFER chooses acme 1.0"
    assert records[1].hint is not None
    assert records[1].hint.endswith("or ask for 'bert.question-answering@neuronkit'")


@pytest.mark.parametrize(
    ("pattern", "disabled"),
    [
        (KEY, {"acme", "zeta"}),
        ("acme", {"acme"}),
        ("ACME", {"acme"}),
        ("a*", {"acme"}),
        ("bert.*", {"acme", "zeta"}),
        (f"{KEY}@zeta", {"zeta"}),
        ("*@zeta", {"zeta"}),
        ("gpt2.*", set()),
    ],
)
def test_disabling_takes_keys_packages_and_patterns(pattern: str, disabled: set[str]) -> None:
    found = judge(declare("acme"), declare("zeta"), NEURONKIT_DISABLE_PLUGINS=pattern)

    assert {record.package for record in found if record.status is Status.DISABLED} == disabled


def test_a_disabled_plugin_is_no_conflict() -> None:
    records = judge(declare("acme"), declare("zeta"), NEURONKIT_DISABLE_PLUGINS="zeta")

    assert [record.status for record in records] == [Status.AVAILABLE, Status.DISABLED]
    assert records[1].reason == "NEURONKIT_DISABLE_PLUGINS contains 'zeta'"
    assert records[1].hint == "remove 'zeta' from NEURONKIT_DISABLE_PLUGINS"


def test_only_allowed_plugins_are_available() -> None:
    records = judge(declare("acme"), declare("neuronkit"), NEURONKIT_PLUGINS="acme")

    assert [record.status for record in records] == [Status.AVAILABLE, Status.DISABLED]
    assert records[1].reason == "NEURONKIT_PLUGINS does not contain it"
    assert records[1].hint == "add 'bert.question-answering@neuronkit' to NEURONKIT_PLUGINS"


def test_disabling_counts_more_than_allowing() -> None:
    assert statuses(declare("acme"), NEURONKIT_PLUGINS="acme", NEURONKIT_DISABLE_PLUGINS="bert.*") == {
        "acme": "disabled"
    }


def test_builtin_backends_need_not_be_allowed() -> None:
    declarations = [declare(package, "cpu", group="neuronkit.backends.v1") for package in ("neuronkit", "acme")]
    records = assess(declarations, BACKENDS, read_settings({"NEURONKIT_PLUGINS": "bert.*"}))

    assert {record.package: record.status for record in records} == {
        "neuronkit": Status.AVAILABLE,
        "acme": Status.DISABLED,
    }


@pytest.mark.parametrize("key", ["bert", "Bert.question-answering", "bert.", "bert.a.b", "bert.qa!", "a@b"])
def test_a_malformed_key_is_reported(key: str) -> None:
    (record,) = judge(declare("acme", key))

    assert record.status is Status.MALFORMED
    assert record.reason is not None
    assert record.reason.startswith(f"{key!r} is no key, which is <architecture>.<task>")
    assert record.hint == "correct it in the pyproject.toml of acme, or pip install --upgrade acme"
    assert record.architecture is record.task is None


@pytest.mark.parametrize(
    "value", ["acme", "acme:", ":plugin", "acme:plu-gin", "a b:c", "acme.:plugin", "1a:b", "a:b:c"]
)
def test_a_malformed_target_is_reported(value: str) -> None:
    (record,) = judge(declare("acme", value=value))

    assert (record.status, record.reason) == (Status.MALFORMED, f"{value!r} is not module:attribute")


@pytest.mark.parametrize("value", ["acme:plugin", "acme.bert : plugins.bert", "acme:plugin [extra]"])
def test_these_targets_are_well_formed(value: str) -> None:
    assert judge(declare("acme", value=value))[0].status is Status.AVAILABLE


def test_one_package_that_declares_a_key_twice_is_malformed() -> None:
    records = judge(declare("acme", value="a:one"), declare("acme", value="a:two"))

    assert [record.status for record in records] == [Status.MALFORMED] * 2
    assert records[0].reason == "acme declares the key 2 times: a:one, a:two"


def test_the_same_declaration_twice_counts_once() -> None:
    assert [record.status for record in judge(declare("acme"), declare("acme"))] == [Status.AVAILABLE]


def test_a_plugin_for_a_newer_hook_api_is_incompatible() -> None:
    (record,) = judge(declare("acme", group="neuronkit.models.v2"))

    assert (record.status, record.api) == (Status.INCOMPATIBLE, 2)
    assert record.reason == "it uses hook API 2, and neuronkit 1.2.0 has 1"
    assert record.hint == "pip install --upgrade neuronkit"


def test_a_plugin_for_an_older_hook_api_is_incompatible() -> None:
    (record,) = judge(declare("acme", group="neuronkit.models.v0"))

    assert (record.status, record.hint) == (Status.INCOMPATIBLE, "pip install --upgrade acme")


def test_a_package_for_both_majors_is_judged_by_ours() -> None:
    (record,) = judge(declare("acme"), declare("acme", group="neuronkit.models.v2", value="new:plugin"))

    assert (record.status, record.api, record.target) == (Status.AVAILABLE, 1, "module:plugin")


def test_both_majors_side_by_side() -> None:
    declarations = declare("old"), declare("new", group="neuronkit.models.v2")
    of_v2 = attrs.evolve(MODELS, api=(2, 0), version="2.0")

    assert {one.package: one.status for one in assess(declarations, MODELS, Settings())} == {
        "old": Status.AVAILABLE,
        "new": Status.INCOMPATIBLE,
    }
    assert {one.package: one.status for one in assess(declarations, of_v2, Settings())} == {
        "old": Status.INCOMPATIBLE,
        "new": Status.AVAILABLE,
    }


@pytest.mark.parametrize(
    ("requirement", "excluding"),
    [
        ("neuronkit", None),
        ("neuronkit>=1.0", None),
        ("neuronkit~=1.2", None),
        ("neuronkit[demo]>=1,<2", None),
        ("Neuron_Kit>=9", None),
        ('neuronkit>=9; extra == "new"', None),
        ('neuronkit>=9; python_version < "3"', None),
        ('neuronkit>=9; extra == "new" or python_version >= "3"', "neuronkit>=9"),
        ("neuronkit>=nonsense", None),
        ("neuronkit>=1.3", "neuronkit>=1.3"),
        ("neuronkit (<1.2)", "neuronkit (<1.2)"),
        ("NeuronKit~=1.3", "NeuronKit~=1.3"),
        ('neuronkit<1; python_version >= "3"', "neuronkit<1"),
        ("other<1", None),
    ],
)
def test_requirements_on_the_builtin_package_are_read(requirement: str, excluding: str | None) -> None:
    (record,) = judge(declare("acme", requires=("torch>=2", requirement)))

    if excluding is None:
        assert record.status is Status.AVAILABLE
    else:
        assert record.status is Status.INCOMPATIBLE
        assert record.reason == f"requires {excluding}, and this is neuronkit 1.2.0"
        assert record.hint == f'pip install "{excluding}", or pip install --upgrade acme'


def test_a_runtime_plugin_comes_before_the_builtin_and_after_a_preference() -> None:
    runtime = PluginInfo(key=KEY, target="m:C", api=1, origin=Origin.RUNTIME)
    installed = assess([declare("neuronkit"), declare("acme")], MODELS, Settings())

    assert [one.status.value for one in settle([*installed, runtime], Settings())] == [
        "shadowed",
        "shadowed",
        "available",
    ]
    preferring = Settings(preferred=((None, "acme"),))
    assert find_winner(settle([*installed, runtime], preferring)) == installed[0]


def test_the_latest_of_several_runtime_plugins_wins() -> None:
    runtime = [PluginInfo(key=KEY, target=f"m:{name}", api=1, origin=Origin.RUNTIME) for name in "BA"]
    settled = settle(runtime, Settings())

    assert [one.status for one in settled] == [Status.SHADOWED, Status.AVAILABLE]
    assert settled[0].hint == "undo the later registration"


def test_the_builtin_warns_of_the_others_unless_preferred() -> None:
    declarations = declare("acme"), declare("neuronkit"), declare("zeta")

    assert find_warnings(KEY, judge(*declarations), Settings()) == [
        "'bert.question-answering' is built in and also offered by acme 1.0 and zeta 1.0; the built-in plugin is used. "
        "Try: NEURONKIT_PREFER=acme to use another, "
        "or NEURONKIT_PREFER=bert.question-answering=neuronkit to keep the built-in without this warning."
    ]
    preferring = {"NEURONKIT_PREFER": "neuronkit"}
    assert find_warnings(KEY, judge(*declarations, **preferring), read_settings(preferring)) == []


def test_a_preferred_plugin_that_cannot_be_used_is_no_silent_fallback() -> None:
    environ = {"NEURONKIT_PREFER": "acme"}
    records = judge(declare("acme", group="neuronkit.models.v2"), declare("neuronkit"), **environ)

    assert find_warnings(KEY, records, read_settings(environ)) == [
        "NEURONKIT_PREFER names acme for 'bert.question-answering', but its plugin is incompatible: "
        "it uses hook API 2, and neuronkit 1.2.0 has 1. That of neuronkit 1.0 is used instead. "
        "Try: pip install --upgrade neuronkit."
    ]


def test_a_key_without_a_winner_has_no_warnings() -> None:
    assert find_warnings(KEY, judge(declare("acme"), declare("zeta")), Settings()) == []
    assert find_warnings("gpt2.text-generation", judge(declare("acme")), Settings()) == []


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        (
            "NEURONKIT_DISABLE_PLUGINS",
            "acmee",
            "NEURONKIT_DISABLE_PLUGINS contains 'acmee', which matches no installed plugin. Did you mean 'acme'?",
        ),
        (
            "NEURONKIT_PLUGINS",
            "acme,xyz*",
            "NEURONKIT_PLUGINS contains 'xyz*', which matches no installed plugin. "
            "Try: remove it from NEURONKIT_PLUGINS.",
        ),
        (
            "NEURONKIT_PREFER",
            "xyz",
            "NEURONKIT_PREFER contains 'xyz', which matches no installed plugin. Try: remove it from NEURONKIT_PREFER.",
        ),
        (
            "NEURONKIT_PREFER",
            "a.b=acme",
            "NEURONKIT_PREFER prefers acme for 'a.b', which it does not offer. "
            "It offers: bert.question-answering, timing.",
        ),
    ],
)
def test_settings_that_match_nothing_are_problems(variable: str, value: str, problem: str) -> None:
    declarations = [declare("acme"), declare("acme", "timing", group="neuronkit.extensions.v1")]

    assert find_problems(declarations, MODELS, read_settings({variable: value})) == [problem]


def test_settings_may_concern_another_family() -> None:
    declarations = [declare("acme"), declare("tools", "timing", group="neuronkit.extensions.v1")]
    settings = read_settings({"NEURONKIT_DISABLE_PLUGINS": "timing", "NEURONKIT_PREFER": "timing=tools"})

    assert find_problems(declarations, MODELS, settings) == []


@pytest.mark.parametrize(
    "group", ["neuronkit.models", "neuronkit.models.1", "neuronkit.modles.v1", "neuronkit.model.v1"]
)
def test_a_group_that_nothing_reads_is_a_problem(group: str) -> None:
    assert find_problems([declare("acme", group=group)], MODELS, Settings()) == [
        f"acme declares plugins in the group {group!r}, which nothing reads. "
        f"Try: 'neuronkit.models.v1' in its pyproject.toml."
    ]


@pytest.mark.parametrize("group", ["neuronkit.models.v1", "neuronkit.models.v7", "neuronkit.classes.v1", "neuronkit.x"])
def test_other_groups_are_not(group: str) -> None:
    assert find_problems([declare("acme", group=group)], MODELS, Settings()) == []


def test_no_order_of_declarations_changes_anything() -> None:
    declarations = [
        declare("acme"),
        declare("zeta"),
        declare("neuronkit", "gpt2.text-generation"),
        declare("zeta", "gpt2.text-generation"),
        declare("beta", "bad"),
        declare("beta", group="neuronkit.models.v2"),
    ]
    expected = judge(*declarations)

    for order in itertools.islice(itertools.permutations(declarations), 0, 720, 7):
        assert judge(*order) == expected


def test_no_order_of_many_packages_changes_anything() -> None:
    declarations = [declare(f"p{i}", f"m{i % 7}.t", f"p{i}:plugin") for i in range(40)]
    expected = judge(*declarations, NEURONKIT_PREFER="p3,m1.t=p8", NEURONKIT_DISABLE_PLUGINS="p1*")

    for seed in range(20):
        random.Random(seed).shuffle(declarations)
        assert judge(*declarations, NEURONKIT_PREFER="p3,m1.t=p8", NEURONKIT_DISABLE_PLUGINS="p1*") == expected
