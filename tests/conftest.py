"""What every test stands on: none of the developer's settings, keys or proxies, and no clock in judgement."""

from __future__ import annotations

import os

from hypothesis import settings

# A test must never use a real key, nor a setting that only this machine has; all its traffic stays on loopback.
for name in list(os.environ):
    if name.startswith(("RECONCILER_", "BIRD_ACCESS_KEY")) or name.lower().endswith("_proxy"):
        del os.environ[name]

# No deadline: under coverage, on shared cores, a slow example says nothing about the claim. The rest stays as
# hypothesis chooses it, which is another profile where CI is set.
CHOSEN = settings.get_profile(settings.get_current_profile_name())
settings.register_profile("unhurried", parent=CHOSEN, deadline=None)
settings.load_profile("unhurried")
