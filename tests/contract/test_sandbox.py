"""Holds the sandbox to `schemas/bird-voice.openapi.yaml`: every answer it can give, and whatever may be sent to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import schemathesis
import schemathesis.checks
import yaml
from hypothesis import HealthCheck, settings
from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse
from schemathesis.specs.openapi.checks import positive_data_acceptance, unsupported_method

from reconciler.model.keys import parse_uuid
from reconciler.providers.bird.sandbox import DEFAULT_KEY, Behaviour, SandboxServer, World
from tests.world.places import SCHEMAS

CONTRACT = SCHEMAS / "bird-voice.openapi.yaml"
OPENAPI = OpenAPI.from_file_path(str(CONTRACT))
SPEC: dict[str, Any] = yaml.safe_load(CONTRACT.read_text())
#: Without its security: a key is sent with everything, so that what is generated gets as far as the operations.
FUZZED = schemathesis.openapi.from_dict({name: value for name, value in SPEC.items() if name != "security"})
schemathesis.checks.load_all_checks()

WORKSPACE = "5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1"
CHANNEL = "0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7"
CALL = "9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2"
RECORDING = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
ENDED = "3fa85f64-5717-4562-b3fc-2c963f66afa7"
ENDED_CALL = "9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c3"
NOBODY = "00000000-0000-4000-8000-000000000000"
KNOWN = {"workspaceId": WORKSPACE, "channelId": CHANNEL, "callId": CALL, "recordingId": RECORDING}

OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, item in SPEC["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}


class Sandbox(NamedTuple):
    url: str
    client: httpx.Client


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """A sandbox on a thread of its own, since neither library here speaks to a running loop."""
    world = World(Behaviour(settle_ms=0))
    ready: list[str] = []
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with SandboxServer(world, read_only_key="reader") as running:
            ready.append(running.url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    headers = {"Authorization": f"AccessKey {DEFAULT_KEY}"}
    with httpx.Client(base_url=ready[0], headers=headers) as client:
        yield Sandbox(ready[0], client)
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def sandbox(server: Sandbox) -> Sandbox:
    """The same sandbox as new: one active recording, one that is over, no faults, no limit."""
    server.client.delete("/_sandbox/faults").raise_for_status()
    server.client.delete("/_sandbox/state").raise_for_status()
    server.client.post("/_sandbox/settings", json={"rate_limit": 0}).raise_for_status()
    ids = {"workspaceId": WORKSPACE, "channelId": CHANNEL}
    seeds = [
        {**ids, "callId": CALL, "recordingId": RECORDING},
        {**ids, "callId": ENDED_CALL, "recordingId": ENDED, "call_ended": True},
    ]
    server.client.post("/_sandbox/seed", json={"recordings": seeds}).raise_for_status()
    return server


def send(sandbox: Sandbox, operation: str, **changes: Any) -> httpx.Response:
    """Send an operation that would succeed, but for what is changed; `ids` replaces IDs of the path."""
    method, path, _ = OPERATIONS[operation]
    ids = KNOWN | ({"recordingId": ENDED} if operation == "getRecording" else {})
    if method == "patch":
        changes.setdefault("json", {"status": "paused"})
    return sandbox.client.request(method, path.format(**(ids | changes.pop("ids", {}))), **changes)


def check(operation: str, response: httpx.Response) -> None:
    """Raise unless the contract allows this answer to that operation."""
    method, path, _ = OPERATIONS[operation]
    content_type = response.headers.get("content-type", "")
    OPENAPI.validate_response(
        MockRequest("https://api.bird.com", method, path),
        MockResponse(response.content, response.status_code, dict(response.headers), content_type),
    )


def wrong_key(_: Sandbox) -> dict[str, Any]:
    return {"headers": {"Authorization": "AccessKey wrong"}}


def may_only_read(_: Sandbox) -> dict[str, Any]:
    return {"headers": {"Authorization": "AccessKey reader"}}


def other_workspace(_: Sandbox) -> dict[str, Any]:
    return {"ids": {"workspaceId": NOBODY}}


def ended_call(_: Sandbox) -> dict[str, Any]:
    return {"ids": {"callId": ENDED_CALL, "recordingId": ENDED}}


def no_uuid(_: Sandbox) -> dict[str, Any]:
    return {"ids": {"callId": "not-a-uuid"}}


def bad_limit(_: Sandbox) -> dict[str, Any]:
    return {"params": {"limit": "0"}}


def bad_body(_: Sandbox) -> dict[str, Any]:
    return {"json": {"status": "stopped"}}


def too_many(sandbox: Sandbox) -> dict[str, Any]:
    sandbox.client.post("/_sandbox/settings", json={"rate_limit": 1}).raise_for_status()
    send(sandbox, "listWorkspaceCalls")
    return {}


def audio(_: Sandbox) -> dict[str, Any]:
    return {"ids": {"recordingId": f"{ENDED}.mp3"}}


ALL = tuple(OPERATIONS)
ABOUT_ONE_CALL = ("getCall", "listCallRecordings", "getCallRecording", "updateCallRecording")
ON_ACTIVE_CALLS = ("listCallRecordings", "getCallRecording", "updateCallRecording")
LISTS = ("listWorkspaceCalls", "listChannelCalls", "listCallRecordings", "listRecordings")
#: All that the sandbox answers besides success without being told to, and to which operations.
PROVOKED = [
    (wrong_key, 401, ALL),
    (may_only_read, 403, ("updateCallRecording",)),
    (other_workspace, 404, ALL),
    (ended_call, 404, ON_ACTIVE_CALLS),
    (no_uuid, 422, ABOUT_ONE_CALL),
    (bad_limit, 422, LISTS),
    (bad_body, 422, ("updateCallRecording",)),
    (too_many, 429, ALL),
    (audio, 307, ("getRecording",)),
]


def test_the_contract_holds_eight_operations_and_one_write() -> None:
    assert len(OPERATIONS) == 8
    assert [name for name, (method, _, _) in OPERATIONS.items() if method != "get"] == ["updateCallRecording"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_success_is_as_the_contract_says(sandbox: Sandbox, operation: str) -> None:
    response = send(sandbox, operation)
    assert response.status_code == (202 if operation == "updateCallRecording" else 200)
    check(operation, response)
    assert "results" not in response.json() or response.json()["results"]


@pytest.mark.parametrize(
    ("provoke", "status", "operation"),
    [
        pytest.param(provoke, status, operation, id=f"{operation}-{status}-{provoke.__name__}")
        for provoke, status, operations in PROVOKED
        for operation in operations
    ],
)
def test_refusals_are_as_the_contract_says(
    sandbox: Sandbox, provoke: Callable[[Sandbox], dict[str, Any]], status: int, operation: str
) -> None:
    response = send(sandbox, operation, **provoke(sandbox))
    assert response.status_code == status
    check(operation, response)


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (operation, int(status.replace("XX", "03")))
        for operation, (_, _, described) in OPERATIONS.items()
        for status in described["responses"]
        if status[0] in "45"
    ],
)
def test_scripted_refusals_are_as_the_contract_says(sandbox: Sandbox, operation: str, status: int) -> None:
    rule = {"times": 1, "action": "status", "status": status, "retry_after": 1}
    sandbox.client.post("/_sandbox/faults", json={"rules": [rule]}).raise_for_status()
    response = send(sandbox, operation)
    assert response.status_code == status
    check(operation, response)


def test_the_check_notices_what_breaks_the_contract(sandbox: Sandbox) -> None:
    sandbox.client.post("/_sandbox/set", json={"recordingId": RECORDING, "status": "dreaming"}).raise_for_status()
    response = send(sandbox, "getCallRecording")
    with pytest.raises(OpenAPIError):
        check("getCallRecording", response)


@FUZZED.parametrize()
# Besides these examples schemathesis sends every case that the limits in the schema suggest. That they all meet the
# same sandbox is meant: its answers have to hold whatever came before.
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_is_answered_as_the_contract_says(case: schemathesis.Case[Any], sandbox: Sandbox) -> None:
    if all(is_uuid(value) for value in case.path_parameters.values()):
        # Fit to be known: what is generated at random would only ever be answered by 404.
        case.path_parameters |= {name: KNOWN[name] for name in case.path_parameters}
    # A page token that the schema allows is still not one that this list has given out.
    excluded: list[schemathesis.CheckFunction] = [positive_data_acceptance]
    if (case.method, case.path) == ("PATCH", OPERATIONS["getCall"][1]):
        # Refused by 403 rather than 405, so that nobody takes it for a mere slip.
        excluded.append(unsupported_method)
    case.call_and_validate(base_url=sandbox.url, headers=dict(sandbox.client.headers), excluded_checks=excluded)


def is_uuid(value: object) -> bool:
    try:
        return bool(parse_uuid(str(value)))
    except ValueError:
        return False
