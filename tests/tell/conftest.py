"""What the tests of telling share."""

import pytest

from runner.tell import post


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """No pause before another attempt: how often is asked, not when."""
    monkeypatch.setattr(post, "_PAUSES_S", (0.0, 0.0))
