"""The Bird voice API behind a wall: a few reads, one write, our own values and errors.

`client` says what is asked and what follows from the answers, `survey` lists what there is; `pages` reads a list and
`entries` its objects. `wire` sends one request and maps every failure; `request` builds it, `transport` holds the
connections, and `answers` reads what came back. `guard` stands below them all and lets nothing else out. This package
alone knows httpx and aiohttp.

What must never happen here: a write other than one status of one recording; a redirect that is followed; a repeated
request (bringing a recording back is the work queue's task); a key, a phone number or a pre-signed link in an error.

Source of every rule: https://docs.bird.com/api/voice-api and its neighbours, read in November 2026; what those pages
leave open is marked as assumed where it matters.
"""

from reconciler.providers.bird.client import Accepted, Bird
from reconciler.providers.bird.dates import DatedTransport
from reconciler.providers.bird.guard import ForbiddenRequest, Route, refuse_writes
from reconciler.providers.bird.survey import CallPage, CallRecord, Proof, RecordingRecord, Survey
from reconciler.providers.bird.transport import TransportName
from reconciler.providers.bird.wire import Connection, Listeners, RequestMetric, Timeouts
from reconciler.providers.gate.circuit import CircuitChange, Circuits

__all__ = [
    "Accepted",
    "Bird",
    "CallPage",
    "CallRecord",
    "CircuitChange",
    "Circuits",
    "Connection",
    "DatedTransport",
    "ForbiddenRequest",
    "Listeners",
    "Proof",
    "RecordingRecord",
    "RequestMetric",
    "Route",
    "Survey",
    "Timeouts",
    "TransportName",
    "refuse_writes",
]
