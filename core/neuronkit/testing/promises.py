"""What makes a method of the conformance class a promise: expected failures, no silent skips, and a record of what ran."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

PREFIX = "test_"


class BrokenPromiseError(AssertionError):
    """A plugin does not do what it has to; the message says which promise, what was found, and what to change."""


def require(condition: object, message: str) -> None:
    """
    Go on if a condition holds.

    Raises:
        BrokenPromiseError: It does not; with the message.
    """
    if not condition:
        raise BrokenPromiseError(message)


def promise(check: Callable[..., None]) -> Callable[..., None]:
    """
    Make a check report itself: it counts as run, it may fail only with a reason, and it is never skipped.

    Args:
        check: A method named ``test_<promise>``.
    """
    name = check.__name__.removeprefix(PREFIX)

    @wraps(check)
    def run(self: Any, *args: Any, **kwargs: Any) -> None:
        reason = type(self).expected_failures.get(name)
        try:
            check(self, *args, **kwargs)
        except pytest.skip.Exception as skipped:
            pytest.fail(
                f"{name} was skipped ({skipped}), and a promise is kept or broken.\n"
                f"Try: expected_failures = {{{name!r}: 'why'}}, if it cannot be kept.",
                pytrace=False,
            )
        except (Exception, pytest.fail.Exception) as error:
            type(self).checks_run.add(name)
            if reason is None:
                raise
            pytest.xfail(f"{reason} ({error})")
        type(self).checks_run.add(name)
        if reason is not None:
            pytest.fail(
                f"{name} holds, although expected_failures says that it does not: {reason}\n"
                f"Try: remove {name!r} from expected_failures.",
                pytrace=False,
            )

    run.is_promise = True  # type: ignore[attr-defined]
    return run


def promises_of(owner: type) -> list[str]:
    """Return the names of a class's promises, without ``test_``, sorted."""
    return sorted(
        name.removeprefix(PREFIX)
        for base in owner.__mro__
        for name, value in vars(base).items()
        if getattr(value, "is_promise", False)
    )
