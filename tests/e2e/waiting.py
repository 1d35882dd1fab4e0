"""Waiting for conditions. No test sleeps and hopes: each says what it waits for, and how long at most."""

import time

# Generous: a slow machine makes a test slow, not wrong. What has a real limit (5 s for a dead peer) asserts it itself.
LIMIT = 30.0
_STEP = 0.02


def wait_for(condition, what, limit=LIMIT):
    """Calls `condition` until it gives something true, and returns that. `what` says what is missing otherwise."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {limit} s: {what() if callable(what) else what}")
        time.sleep(_STEP)
