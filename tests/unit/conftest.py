"""How much hypothesis does, on machines that are busy with other things as well."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tests", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("tests")
