"""The voice API behind a wall, the budget and the circuit before it, and the list of what is live.

`bird` is the one provider so far, `bird.sandbox` its double over HTTP. What must never happen here: a write other than
one status of one recording, or a repeated request; bringing a recording back is the work queue's task.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.providers.bird import Bird as Bird
    from reconciler.providers.bird import CircuitChange as CircuitChange
    from reconciler.providers.bird import Circuits as Circuits
    from reconciler.providers.bird import Connection as Connection
    from reconciler.providers.bird import DatedTransport as DatedTransport
    from reconciler.providers.bird import Listeners as Listeners
    from reconciler.providers.bird import Proof as Proof
    from reconciler.providers.bird import RequestMetric as RequestMetric
    from reconciler.providers.bird import Route as Route
    from reconciler.providers.bird import Survey as Survey
    from reconciler.providers.bird import Timeouts as Timeouts
    from reconciler.providers.bird import refuse_writes as refuse_writes
    from reconciler.providers.bird.client import Accepted as Accepted
    from reconciler.providers.bird.sandbox import DEFAULT_KEY as DEFAULT_KEY
    from reconciler.providers.bird.sandbox import Behaviour as Behaviour
    from reconciler.providers.bird.sandbox import SandboxServer as SandboxServer
    from reconciler.providers.bird.sandbox import SeedRecording as SeedRecording
    from reconciler.providers.bird.sandbox import World as World
    from reconciler.providers.bird.sandbox import run_sandbox as run_sandbox
    from reconciler.providers.gate.budget import PATIENCE_SECONDS as PATIENCE_SECONDS
    from reconciler.providers.gate.budget import Budgets as Budgets
    from reconciler.providers.gate.budget import guest_rate as guest_rate
    from reconciler.providers.gate.budget import turns_at_once as turns_at_once
    from reconciler.providers.gate.gate import Gate as Gate
    from reconciler.providers.inventory import Discovered as Discovered
    from reconciler.providers.inventory import Scope as Scope
    from reconciler.providers.inventory import discover as discover
    from reconciler.providers.reach import is_loopback as is_loopback
else:
    __getattr__ = face(
        __name__,
        {
            "bird": (
                "Bird",
                "CircuitChange",
                "Circuits",
                "Connection",
                "DatedTransport",
                "Listeners",
                "Proof",
                "RequestMetric",
                "Route",
                "Survey",
                "Timeouts",
                "refuse_writes",
            ),
            "bird.client": ("Accepted",),
            "bird.sandbox": (
                "Behaviour",
                "DEFAULT_KEY",
                "SandboxServer",
                "SeedRecording",
                "World",
                "run_sandbox",
            ),
            "gate.budget": (
                "Budgets",
                "PATIENCE_SECONDS",
                "guest_rate",
                "turns_at_once",
            ),
            "gate.gate": ("Gate",),
            "inventory": (
                "Discovered",
                "Scope",
                "discover",
            ),
            "reach": ("is_loopback",),
        },
    )
