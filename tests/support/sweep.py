"""A sweep leaves a few of its cases in the fast suite; the rest are `slow`, and run by `.ci/run`."""

import pytest

__all__ = ["sweep"]


def sweep(cases, *, fast):
    """The cases as parameters: those at these places, counted from 0, are always run."""
    cases = list(cases)
    assert set(fast) <= set(range(len(cases)))
    return [case if place in fast else _slow(case) for place, case in enumerate(cases)]


def _slow(case):
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
