"""What every fuzz target shares: new inputs on each run, and no wall clock in the verdict."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("fuzz", deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fuzz")
