"""The sandbox: a simulated Bird voice API, for demonstrations and tests.

A real HTTP server that behaves as `schemas/bird-voice.openapi.yaml` says, with a switchboard under `/_sandbox/` to
seed, change and disturb it (see `control`). `world` holds the calls and recordings, `wire` shows them in Bird's words,
`operations` are Bird's eight, `faults` says what goes wrong, `app` joins them, `server` runs it. It knows nothing of
the program that it is there to test, beyond the shared nouns, and is reached by it over HTTP alone.
"""

from reconciler.providers.bird.sandbox.app import DEFAULT_KEY, make_app
from reconciler.providers.bird.sandbox.server import SandboxServer, run_sandbox
from reconciler.providers.bird.sandbox.wire import LINK_CANARY
from reconciler.providers.bird.sandbox.world import Behaviour, SeedRecording, World

__all__ = [
    "DEFAULT_KEY",
    "LINK_CANARY",
    "Behaviour",
    "SandboxServer",
    "SeedRecording",
    "World",
    "make_app",
    "run_sandbox",
]
