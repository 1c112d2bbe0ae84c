"""How many examples a fuzz test runs: EMDASH_FUZZ=nightly runs many, different ones every time."""

import os

from hypothesis import HealthCheck, settings

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

PROFILES = {
    "ordinary": settings(
        max_examples=300,
        derandomize=True,  # the same examples in every run
        database=None,
        deadline=None,
        suppress_health_check=SLOW,
    ),
    "nightly": settings(
        max_examples=10_000, print_blob=True, deadline=None, suppress_health_check=SLOW
    ),
}
PROFILE = PROFILES[os.environ.get("EMDASH_FUZZ") or "ordinary"]


def share(part):
    """Return the profile with a part of its examples, for a test that needs fewer."""
    return settings(PROFILE, max_examples=int(part * PROFILE.max_examples))
