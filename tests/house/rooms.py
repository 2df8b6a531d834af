"""The plan of the house: the rooms and their floors, who owns which package, what is pure, what is slow."""

from __future__ import annotations

#: The rooms by floor, from the top. A room imports from the floors below its own; on its own floor it may import from
#: another as long as no circle arises. There are no rooms beside these, and nothing else at the package's root.
FLOORS = {
    "cli": 7,
    "controller": 6,
    "reconcile": 5,
    "desired": 5,
    "report": 4,
    "web": 4,
    "providers": 4,
    "state": 4,
    "git": 4,
    "plan": 3,
    "work": 3,
    "settings": 3,
    "telemetry": 3,
    "model": 2,
}
ROOT = {"__init__.py", "__main__.py", "py.typed"}
#: Modules that import less than their floor allows: the named rooms and no others.
ONLY_FROM = {"providers.bird.sandbox": {"model"}}
#: What computes: values in, values out, time passed in. A whole room, or one module of it.
PURE = {
    "desired.catalog",
    "desired.doubts",
    "desired.edit",
    "desired.export",
    "model",
    "plan.decision",
    "plan.evidence",
    "plan.limits",
    "plan.outline",
    "plan.plan",
    "plan.window",
    "providers.bird.entries",
    "reconcile.record",
    "report",
    "telemetry.scrubbing",
    "work.backoff",
}
IMPURE = {"asyncio", "logging", "os", "pathlib", "socket", "subprocess", "tempfile", "threading", "time"}
#: Which rooms may import a package: every third-party one, and sqlite3.
OWNERS = {
    "aiohttp": {"providers"},
    "click": {"cli"},
    "httpx": {"providers"},
    "httpx_aiohttp": {"providers"},
    "jsonschema": {"desired"},
    "jsonschema_rs": {"desired"},
    "prometheus_client": {"telemetry"},
    "sqlite3": {"state"},
    "starlette": {"providers", "web"},
    "structlog": {"telemetry"},
    "uvicorn": {"providers", "web"},
    "uvloop": {"cli"},
    "watchfiles": {"desired"},
    "yaml": {"desired"},
}
#: Too slow to import for a command that needs neither the API nor the daemon, nor has a mistake to explain.
HEAVY = {
    "aiohttp",
    "asyncio",
    "concurrent",
    "difflib",
    "httpx",
    "jsonschema",
    "logging",
    "prometheus_client",
    "ssl",
    "starlette",
    "structlog",
    "traceback",
    "uvicorn",
    "watchfiles",
}
