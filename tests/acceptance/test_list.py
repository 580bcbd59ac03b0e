"""What plugins may do to a registry, and the test that holds it to each; the names are checked, so that none is lost."""

from __future__ import annotations

from importlib import import_module

import pytest

CASES = {
    "broken import": "registry.test_loading:test_a_module_that_is_not_there registry.test_loading:test_an_import_that_fails",
    "missing attribute": "registry.test_loading:test_an_attribute_that_is_not_there",
    "malformed value": "registry.test_policy:test_a_malformed_target_is_reported"
    " registry.test_loading:test_a_target_that_is_not_one_is_refused_before_any_import",
    "SystemExit at import": "registry.test_loading:test_an_import_that_fails cli.test_list_plugins:test_check",
    "SIGKILL under --check": "cli.test_list_plugins:test_check",
    "two distributions, one key": "registry.test_policy:test_two_third_parties_conflict"
    " registry.test_registry:test_a_conflict_is_an_error_until_somebody_chooses",
    "editable duplicate": "registry.test_discovery:test_an_editable_duplicate_counts_once",
    "stale dist-info": "registry.test_discovery:test_stale_metadata_of_an_older_version_counts_for_nothing",
    "unknown name to disable": "registry.test_registry:test_an_unknown_name_in_a_setting_warns_once",
    "plugin for hook API 2 alone": "acceptance.test_versions:test_a_plugin_of_the_next_major_is_listed_and_never_imported",
    "hook typo": "registry.test_contract:test_an_unknown_hook_gets_a_suggestion",
    "default on an implementation": "registry.test_contract:test_parameters_that_would_never_be_passed"
    " acceptance.test_registry:test_a_default_on_an_implementation_breaks_that_plugin_alone",
    "half-registered plugin": "registry.test_loading:test_a_half_good_plugin_is_not_half_registered",
    "worker round trip": "acceptance.test_registry:test_plugins_and_their_errors_in_a_worker",
    "refresh after an installation": "registry.test_registry:test_refresh_after_an_installation",
    "empty environment": "registry.test_registry:test_an_empty_environment",
    "environment in which all is broken": "registry.test_loading:test_an_environment_in_which_everything_is_broken"
    " cli.test_list_plugins:test_every_third_party_plugin_is_broken",
    "JSON schema snapshot": "acceptance.test_schemas:test_the_options_of_the_core acceptance.test_schemas:test_the_listing",
    "message text of every error": "registry.test_messages:test_the_message_of_every_error"
    " acceptance.test_messages:test_the_message_of_every_error",
    "hash seeds and shuffled sys.path": "registry.test_processes:test_hash_seeds_and_shuffled_paths_give_the_same_listing",
}


@pytest.mark.parametrize("case", CASES)
def test_there_is_a_test_for(case: str) -> None:
    for name in CASES[case].split():
        module, _, function = name.partition(":")
        assert callable(getattr(import_module(f"tests.{module}"), function))
