"""The sandbox behaves as Bird is described, and misbehaves as it is told.

The world is tested on a clock that the test moves; the server on a real socket.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.keys import CallKey, RecordingKey
from reconciler.model.statuses import FINAL, LiveStatus, Status
from reconciler.providers.bird.sandbox import (
    DEFAULT_KEY,
    LINK_CANARY,
    Behaviour,
    SandboxServer,
    SeedRecording,
    World,
    make_app,
)
from reconciler.providers.bird.sandbox.faults import Act, Faults, Rule, Throttle
from reconciler.providers.bird.sandbox.world import NotControllable, NotKnown

WORKSPACE = "5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1"
CHANNEL = "0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7"
START = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
HEADERS = {"Authorization": f"AccessKey {DEFAULT_KEY}"}


def uuid(number: int) -> str:
    return str(UUID(int=number, version=4))


def key(number: int = 0, *, call: int = 1000) -> RecordingKey:
    return RecordingKey(WORKSPACE, CHANNEL, uuid(call), uuid(number))


def path(recording: RecordingKey) -> str:
    return f"{list_path(recording)}/{recording.recording_id}"


def list_path(recording: RecordingKey) -> str:
    return f"{call_path(recording)}/recordings"


def call_path(recording: RecordingKey) -> str:
    return f"/workspaces/{recording.workspace_id}/channels/{recording.channel_id}/calls/{recording.call_id}"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, milliseconds: float) -> None:
        self.now += timedelta(milliseconds=milliseconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    return World(Behaviour(settle_ms=100), clock=clock)


@asynccontextmanager
async def client_of(world: World, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        SandboxServer(world, **options) as server,
        httpx.AsyncClient(base_url=server.url, headers=HEADERS) as client,
    ):
        yield client


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server over `world`, whose time stands still until the test moves it."""
    async with client_of(world) as client:
        yield client


async def control(client: httpx.AsyncClient, name: str, **body: Any) -> Any:
    response = await client.post(f"/_sandbox/{name}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def script(client: httpx.AsyncClient, action: str, **rule: Any) -> None:
    await control(client, "faults", rules=[{"action": action, "times": 1} | rule])


async def patch(client: httpx.AsyncClient, recording: RecordingKey, status: str = "paused") -> httpx.Response:
    return await client.patch(path(recording), json={"status": status})


def status_of(world: World, recording: RecordingKey) -> str:
    return {found.key: found.status for found in world.recordings()}[recording]


# The world


def test_a_change_shows_only_once_it_has_settled(world: World, clock: Clock) -> None:
    world.seed([SeedRecording(key())])
    world.change(key(), Status.PAUSED)
    clock.move(99)
    assert status_of(world, key()) == "ongoing"
    clock.move(1)
    assert status_of(world, key()) == "paused"


def test_without_settling_a_change_shows_at_once(world: World) -> None:
    world.behaviour = Behaviour(settle_ms=0)
    world.seed([SeedRecording(key())])
    assert world.change(key(), Status.PAUSED).status == "paused"


def test_changes_settle_in_the_order_of_their_acceptance(world: World, clock: Clock) -> None:
    world.seed([SeedRecording(key())])
    world.change(key(), Status.PAUSED)
    world.behaviour = Behaviour(settle_ms=10)
    world.change(key(), Status.ONGOING)
    clock.move(50)
    assert status_of(world, key()) == "ongoing"
    clock.move(50)
    assert status_of(world, key()) == "ongoing"
    assert not next(world.recordings()).pending


def test_a_change_accepted_before_the_end_has_no_effect_after_it(world: World, clock: Clock) -> None:
    world.seed([SeedRecording(key())])
    world.change(key(), Status.COMPLETED)
    clock.move(50)
    world.change(key(), Status.ONGOING)
    clock.move(50)
    assert status_of(world, key()) == "completed"
    clock.move(1000)
    assert status_of(world, key()) == "available"


@pytest.mark.parametrize("status", sorted({LiveStatus.ACCEPTED} | FINAL))
def test_nothing_leads_out_of_a_status_that_is_not_controllable(world: World, status: LiveStatus) -> None:
    world.seed([SeedRecording(key(), status)])
    with pytest.raises(NotControllable):
        world.change(key(), Status.ONGOING)


def test_an_accepted_recording_becomes_ongoing_when_its_time_has_come(world: World, clock: Clock) -> None:
    world.seed([SeedRecording(key(), LiveStatus.ACCEPTED, accepted_ms=500), SeedRecording(key(1), LiveStatus.ACCEPTED)])
    clock.move(500)
    assert (status_of(world, key()), status_of(world, key(1))) == ("ongoing", "accepted")


def test_a_call_that_ends_takes_its_recordings_with_it(world: World, clock: Clock) -> None:
    world.seed([SeedRecording(key()), SeedRecording(key(1)), SeedRecording(key(2, call=1001))])
    world.change(key(), Status.PAUSED)
    assert world.end_call(key().call_id) == 1
    assert world.end_call(key().call_id) == 0
    assert world.call(key().call).status == "completed"
    with pytest.raises(NotKnown, match="ended"):
        world.active_recordings(key().call)
    with pytest.raises(NotKnown, match="ended"):
        world.call_recording(key())
    assert [found.status for found in world.past_recordings(WORKSPACE)] == ["completed", "completed"]
    clock.move(100)
    assert [found.status for found in world.past_recordings(WORKSPACE)] == ["available", "available"]
    assert status_of(world, key(2, call=1001)) == "ongoing"


def test_only_active_recordings_are_listed_with_their_call_and_only_past_ones_with_the_workspace(
    world: World, clock: Clock
) -> None:
    world.seed([SeedRecording(key(number)) for number in range(3)])
    world.change(key(1), Status.COMPLETED)
    clock.move(100)
    assert [found.key for found in world.active_recordings(key().call)] == [key(0), key(2)]
    assert [found.key for found in world.past_recordings(WORKSPACE)] == [key(1)]
    assert world.call_recording(key(1)).status == "completed"
    with pytest.raises(NotKnown, match="active"):
        world.past_recording(WORKSPACE, key(0).recording_id)


def test_seeding_again_changes_nothing(world: World, clock: Clock) -> None:
    assert world.seed([SeedRecording(key())]) == 1
    world.change(key(), Status.PAUSED)
    clock.move(100)
    assert world.seed([SeedRecording(key()), SeedRecording(key(0, call=1001))]) == 0
    assert status_of(world, key()) == "paused"


def test_a_recording_seeded_into_an_ended_call_has_ended(world: World, clock: Clock) -> None:
    world.seed([SeedRecording(key(), call_ended=True), SeedRecording(key(1)), SeedRecording(key(2), LiveStatus.FAILED)])
    clock.move(100)
    assert [found.status for found in world.past_recordings(WORKSPACE)] == ["available", "available", "failed"]


def test_somebody_else_may_set_any_word_at_once(world: World, clock: Clock) -> None:
    world.seed([SeedRecording(key())])
    assert world.set_status(key().recording_id, "dreaming").status == "dreaming"
    with pytest.raises(NotControllable):
        world.change(key(), Status.PAUSED)
    assert world.set_status(key().recording_id, "completed").ended_at == clock.now
    back = world.set_status(key().recording_id, "ongoing")
    assert back.ended_at is None
    assert [found.key for found in world.active_recordings(key().call)] == [key()]


@pytest.mark.parametrize(
    "unknown",
    [
        lambda world: world.call(CallKey(WORKSPACE, CHANNEL, uuid(1))),
        lambda world: world.change(key(7), Status.PAUSED),
        lambda world: world.change(key()._replace(channel_id=uuid(1)), Status.PAUSED),
        lambda world: world.set_status(uuid(7), "paused"),
        lambda world: world.end_call(uuid(7)),
        lambda world: world.calls(uuid(7)),
        lambda world: world.calls(WORKSPACE, uuid(7)),
        lambda world: world.past_recordings(uuid(7)),
        lambda world: world.past_recording(uuid(7), key().recording_id),
    ],
)
def test_what_was_never_seeded_is_not_known(world: World, unknown: Any) -> None:
    world.seed([SeedRecording(key())])
    with pytest.raises(NotKnown):
        unknown(world)


def test_numbers_belong_to_nobody(world: World) -> None:
    world.seed([SeedRecording(key(number, call=number * 7919)) for number in range(1, 50)])
    for call in world.calls(WORKSPACE):
        assert call.from_number.startswith("+447700900")
        assert len(call.from_number) == 13
        assert call.to_number.startswith("+120255501")
        assert len(call.to_number) == 12


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: SeedRecording(key(), LiveStatus.GONE),
        lambda: SeedRecording(key(), direction="sideways"),
        lambda: SeedRecording(key(), accepted_ms=-1),
        lambda: Behaviour(settle_ms=-1),
        lambda: Behaviour(latency_ms=float("nan")),
        lambda: Behaviour(fault_rate=1.5),
        lambda: Behaviour(rate_limit=-1),
    ],
)
def test_values_out_of_range_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|is not"):
        wrong()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.integers(0, 3), st.sampled_from(Status)),
        st.tuples(st.just("set"), st.integers(0, 3), st.sampled_from(["ongoing", "paused", "available", "dreaming"])),
        st.tuples(st.just("end"), st.integers(0, 1)),
        st.tuples(st.just("move"), st.integers(0, 250)),
    ),
    max_size=30,
)


def take(world: World, clock: Clock, step: tuple[Any, ...]) -> None:
    match step:
        case ("change", number, status):
            try:
                world.change(key(number, call=1000 + number % 2), status)
            except (NotKnown, NotControllable):
                pass  # one of the claims below is that this leaves everything as it was
        case ("set", number, word):
            world.set_status(uuid(number), word)
        case ("end", number):
            world.end_call(uuid(1000 + number))
        case ("move", milliseconds):
            clock.move(milliseconds)


def four_recordings(clock: Clock) -> World:
    world = World(Behaviour(settle_ms=100), clock=clock)
    world.seed([SeedRecording(key(number, call=1000 + number % 2)) for number in range(4)])
    return world


@given(STEPS)
def test_no_update_leads_out_of_a_final_status(steps: list[tuple[Any, ...]]) -> None:
    clock = Clock()
    world = four_recordings(clock)
    before = {found.key: found.status for found in world.recordings()}
    for step in steps:
        take(world, clock, step)
        now = {found.key: found.status for found in world.recordings()}
        for recording, status in now.items():
            if step[0] != "set" and before[recording] in FINAL:
                allowed = {before[recording]} | ({"available"} if before[recording] == "completed" else set())
                assert status in allowed
        before = now


@given(STEPS)
def test_every_recording_is_active_or_past_and_never_both(steps: list[tuple[Any, ...]]) -> None:
    clock = Clock()
    world = four_recordings(clock)
    for step in steps:
        take(world, clock, step)
    active = set()
    for call in world.calls(WORKSPACE):
        if call.ended_at is None:
            active |= {found.key for found in world.active_recordings(call.key)}
    past = {found.key for found in world.past_recordings(WORKSPACE)}
    assert active | past == {found.key for found in world.recordings()}
    assert not active & past


@given(STEPS, STEPS)
def test_a_loaded_world_goes_on_as_the_dumped_one_would(
    before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    clock = Clock()
    world = four_recordings(clock)
    for step in before:
        take(world, clock, step)
    loaded_clock = Clock()
    loaded_clock.now = clock.now
    loaded = World.load(json.loads(json.dumps(world.dump())), world.behaviour, clock=loaded_clock)
    for step in after:
        take(world, clock, step)
        take(loaded, loaded_clock, step)
    assert loaded.dump() == world.dump()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"format": "reconciler.plan/v1"},
        {"format": "reconciler.sandbox/v1", "calls": [], "recordings": [{}]},
        {"format": "reconciler.sandbox/v1", "calls": 1, "recordings": []},
    ],
)
def test_what_was_not_dumped_is_not_loaded(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sandbox"):
        World.load(data)


def test_a_moment_without_a_zone_is_not_loaded(world: World) -> None:
    world.seed([SeedRecording(key())])
    data = world.dump()
    data["calls"][0]["created_at"] = "2026-11-02T09:30:00"
    with pytest.raises(ValueError, match="time zone"):
        World.load(data)


# The operations


async def test_an_update_answers_accepted_and_settles_later(
    client: httpx.AsyncClient, world: World, clock: Clock
) -> None:
    world.seed([SeedRecording(key())])
    response = await patch(client, key())
    assert (response.status_code, response.json()["status"]) == (202, "accepted")
    assert (await client.get(path(key()))).json()["status"] == "ongoing"
    clock.move(100)
    assert (await client.get(path(key()))).json()["status"] == "paused"
    assert (await client.get(list_path(key()))).json()["results"][0]["status"] == "paused"


async def test_asking_for_the_status_it_has_is_accepted(client: httpx.AsyncClient, world: World, clock: Clock) -> None:
    world.seed([SeedRecording(key(), LiveStatus.PAUSED)])
    assert (await patch(client, key())).status_code == 202
    clock.move(100)
    assert status_of(world, key()) == "paused"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "body"),
        (b"paused", "body"),
        (b"\xff", "body"),
        (b"[" * 60_000, "body"),
        (b'["paused"]', "body"),
        (b"{}", "status"),
        (b'{"status": null}', "status"),
        (b'{"status": 1}', "status"),
        (b'{"status": ["paused"]}', "status"),
        (b'{"status": "stopped"}', "status"),
        (b'{"status": "Paused"}', "status"),
        (b'{"status": "available"}', "status"),
        (b'{"status": "paused", "note": "x"}', "note"),
        (b'{"status": "paused"}' + b" " * 70_000, "body"),
    ],
    ids=lambda value: repr(value)[:24],
)
async def test_a_body_that_is_not_exactly_one_status_is_refused(
    client: httpx.AsyncClient, world: World, body: bytes, named: str
) -> None:
    world.seed([SeedRecording(key())])
    response = await client.patch(path(key()), content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["code"] == "InvalidPayload"
    assert list(response.json()["details"]) == [named]
    assert next(world.recordings()).patches == 0


async def test_a_body_that_is_not_called_json_is_refused(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key())])
    response = await client.patch(path(key()), content=b'{"status": "paused"}')
    assert (response.status_code, list(response.json()["details"])) == (422, ["Content-Type"])


async def test_a_final_recording_is_refused_and_an_ended_call_is_not_found(
    client: httpx.AsyncClient, world: World
) -> None:
    world.seed([SeedRecording(key(), LiveStatus.FAILED), SeedRecording(key(1, call=1001), call_ended=True)])
    assert (await patch(client, key())).status_code == 422
    ended = key(1, call=1001)
    assert (await patch(client, ended)).status_code == 404
    assert (await client.get(path(ended))).status_code == 404
    assert (await client.get(list_path(ended))).status_code == 404
    assert (await client.get(call_path(ended))).json()["status"] == "completed"


async def test_a_patch_on_a_call_is_refused_loudly_whoever_sends_it(
    client: httpx.AsyncClient, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.seed([SeedRecording(key())])
    await script(client, "status", status=503, times=None)
    for address in (call_path(key()), call_path(key()) + "/", call_path(key()).replace("/calls", "//calls")):
        with caplog.at_level(logging.ERROR, "reconciler.sandbox"):
            response = await client.patch(address, json={"status": "completed"}, headers={"Authorization": "nobody"})
        assert (response.status_code, response.json()["code"]) == (403, "CallUpdateRefused")
        assert "HANGS UP" in caplog.text
        caplog.clear()
    assert (await client.get("/_sandbox/requests")).json()["callUpdatesRefused"] == 3
    assert world.call(key().call).status == "ongoing"


@pytest.mark.parametrize("authorization", [None, "AccessKey wrong", "Bearer sandbox-key", "sandbox-key", "AccessKey"])
async def test_without_the_key_nothing_is_answered(
    client: httpx.AsyncClient, world: World, authorization: str | None
) -> None:
    world.seed([SeedRecording(key())])
    client.headers.pop("Authorization")
    headers = {} if authorization is None else {"Authorization": authorization}
    response = await client.patch(path(key()), json={"status": "paused"}, headers=headers)
    assert response.status_code == 401
    assert set(response.json()) == {"code", "message"}
    assert next(world.recordings()).patches == 0


async def test_a_key_that_may_only_read_may_only_read(world: World) -> None:
    world.seed([SeedRecording(key())])
    async with client_of(world, key="both", read_only_key="reader") as client:
        client.headers["Authorization"] = "AccessKey reader"
        assert (await client.get(path(key()))).status_code == 200
        assert (await patch(client, key())).status_code == 403
        client.headers["Authorization"] = "AccessKey both"
        assert (await patch(client, key())).status_code == 202


@pytest.mark.parametrize("method", ["DELETE", "PUT", "POST", "OPTIONS"])
async def test_other_methods_and_paths_are_refused(client: httpx.AsyncClient, world: World, method: str) -> None:
    world.seed([SeedRecording(key())])
    response = await client.request(method, path(key()))
    assert (response.status_code, response.headers["allow"]) == (405, "PATCH, GET")
    for address in ("/", "/workspaces", path(key()) + "/", path(key()) + "/media", path(key()) + "%0A/x"):
        response = await client.request(method, address)
        assert (response.status_code, response.json()["code"]) == (404, "ResourceNotFound")


async def test_ids_are_compared_in_lower_case(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key())])
    assert (await client.get(path(key()).upper().replace("/WORKSPACES", "/workspaces"))).status_code == 404
    upper = RecordingKey(*(part.upper() for part in key()))
    assert (await client.get(path(upper))).json()["id"] == key().recording_id


# The lists


async def test_a_client_that_does_not_page_misses_items(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key(number)) for number in range(25)])
    found: list[str] = []
    token: str | None = None
    sizes: list[int] = []
    while token is not None or not sizes:
        page = (await client.get(list_path(key()), params={"pageToken": token} if token else {})).json()
        found += [item["id"] for item in page["results"]]
        sizes.append(len(page["results"]))
        token = page.get("nextPageToken")
    assert sizes == [10, 10, 5]
    assert found == [uuid(number) for number in range(25)]


async def test_the_last_page_has_no_token_even_when_it_is_full(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key(number)) for number in range(3)])
    assert "nextPageToken" not in (await client.get(list_path(key()), params={"limit": 3})).json()
    assert "nextPageToken" in (await client.get(list_path(key()), params={"limit": 2})).json()


async def test_items_that_leave_between_pages_shift_no_others(
    client: httpx.AsyncClient, world: World, clock: Clock
) -> None:
    world.seed([SeedRecording(key(number)) for number in range(6)])
    first = (await client.get(list_path(key()), params={"limit": 3})).json()
    world.change(key(0), Status.COMPLETED)
    clock.move(100)
    rest = (await client.get(list_path(key()), params={"pageToken": first["nextPageToken"]})).json()
    assert [item["id"] for item in rest["results"]] == [uuid(3), uuid(4), uuid(5)]


async def test_a_token_is_good_for_its_own_list_only(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key(number, call=1000 + number % 2), call_ended=False) for number in range(6)])
    world.seed([SeedRecording(key(10 + number, call=1002), call_ended=True) for number in range(3)])
    token = (await client.get(list_path(key()), params={"limit": 1})).json()["nextPageToken"]
    other = list_path(key(1, call=1001))
    past = f"/workspaces/{WORKSPACE}/recordings"
    past_token = (await client.get(past, params={"limit": 1, "direction": "incoming"})).json()["nextPageToken"]
    for address, params in (
        (other, {"pageToken": token}),
        (past, {"pageToken": token}),
        (past, {"pageToken": past_token}),
        (list_path(key()), {"pageToken": token[:-2]}),
        (list_path(key()), {"pageToken": "nonsense"}),
        (list_path(key()), {"pageToken": "\N{SNOWMAN}"}),
    ):
        response = await client.get(address, params=params)
        assert response.status_code == 422
        assert "pageToken" in response.json()["details"]


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1.5", "1" * 30])
async def test_a_limit_out_of_range_is_refused(client: httpx.AsyncClient, world: World, limit: str) -> None:
    world.seed([SeedRecording(key())])
    response = await client.get(list_path(key()), params={"limit": limit})
    assert (response.status_code, list(response.json()["details"])) == (422, ["limit"])


async def test_the_workspace_gives_at_most_99_recordings_at_once(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key(), call_ended=True)])
    address = f"/workspaces/{WORKSPACE}/recordings"
    assert (await client.get(address, params={"limit": 99})).status_code == 200
    assert (await client.get(address, params={"limit": 100})).status_code == 422


@pytest.mark.parametrize(
    ("params", "numbers"),
    [
        ({}, [0, 1, 2]),
        ({"id": uuid(1000)}, [0, 1]),
        ({"sourceId": uuid(1001).upper()}, [2]),
        ({"id": uuid(1000), "sourceId": uuid(1001)}, []),
        ({"id": uuid(7)}, []),
        ({"channelId": CHANNEL}, [0, 1, 2]),
        ({"channelId": uuid(7)}, []),
        ({"direction": "outgoing"}, [2]),
        ({"status": "failed"}, [1]),
        ({"from": "+447700900001"}, [2]),
        ({"to": "+447700900001"}, []),
        ({"startAt": "2026-11-02T09:30:00Z"}, [0, 1, 2]),
        ({"startAt": "2026-11-02T10:30:00+01:00", "endAt": "2026-11-02t09:29:60z"}, []),
        ({"endAt": "2026-11-02T09:29:59.999Z"}, []),
        ({"unheardOf": "x"}, [0, 1, 2]),
    ],
)
async def test_past_recordings_are_filtered(
    client: httpx.AsyncClient, world: World, params: dict[str, str], numbers: list[int]
) -> None:
    world.seed(
        [
            SeedRecording(key(0), call_ended=True),
            SeedRecording(key(1), LiveStatus.FAILED),
            SeedRecording(
                key(2, call=1001), call_ended=True, direction="outgoing", from_number="+447700900001", to_number="+1"
            ),
            SeedRecording(key(3, call=1003)),
        ]
    )
    response = await client.get(f"/workspaces/{WORKSPACE}/recordings", params=params)
    assert [item["id"] for item in response.json()["results"]] == [uuid(number) for number in numbers]


@pytest.mark.parametrize(
    ("params", "numbers"),
    [
        ([], [1000, 1001]),
        ([("id", uuid(1001))], [1001]),
        ([("channelId", uuid(7)), ("channelId", CHANNEL.upper())], [1000, 1001]),
        ([("channelId", uuid(7))], []),
        ([("tag", "x")], []),
        ([("status", "completed")], [1001]),
        ([("type", "webrtc")], []),
        ([("duration", "0")], [1000, 1001]),
        ([("duration", "5")], []),
        ([("from", "+447700900999")], []),
    ],
)
async def test_calls_are_filtered(client: httpx.AsyncClient, world: World, params: Any, numbers: list[int]) -> None:
    world.seed([SeedRecording(key(0)), SeedRecording(key(1, call=1001), call_ended=True)])
    response = await client.get(f"/workspaces/{WORKSPACE}/channels/calls", params=params)
    assert [item["id"] for item in response.json()["results"]] == [uuid(number) for number in numbers]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("startAt", "yesterday"),
        ("startAt", "2026-13-02T09:30:00Z"),
        ("endAt", "2026-11-02 09:30:00Z"),
        ("id", "1"),
        ("direction", "inwards"),
        ("from", ""),
        ("duration", "-1"),
    ],
)
async def test_a_filter_that_cannot_be_meant_is_refused(
    client: httpx.AsyncClient, world: World, name: str, value: str
) -> None:
    world.seed([SeedRecording(key())])
    response = await client.get(f"/workspaces/{WORKSPACE}/channels/calls", params={name: value})
    assert (response.status_code, list(response.json()["details"])) == (422, [name])


async def test_a_filter_given_twice_is_refused(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key())])
    response = await client.get(list_path(key()), params=[("limit", "1"), ("limit", "2")])
    assert response.json()["details"] == {"limit": ["must be given once"]}


async def test_the_calls_of_a_channel_are_those_of_that_channel(client: httpx.AsyncClient, world: World) -> None:
    elsewhere = key(1, call=1001)._replace(channel_id=uuid(5))
    world.seed([SeedRecording(key()), SeedRecording(elsewhere)])
    for recording in (key(), elsewhere):
        calls = await client.get(f"/workspaces/{WORKSPACE}/channels/{recording.channel_id}/calls")
        assert [item["id"] for item in calls.json()["results"]] == [recording.call_id]


async def test_the_way_to_the_audio_is_a_canary(client: httpx.AsyncClient, world: World, clock: Clock) -> None:
    world.seed([SeedRecording(key(), call_ended=True)])
    address = f"/workspaces/{WORKSPACE}/recordings/{key().recording_id}"
    assert "url" not in (await client.get(address)).json()
    clock.move(100)
    answer = (await client.get(address)).json()
    assert (answer["source"], answer["sourceId"], answer["status"]) == ("call", key().call_id, "available")
    assert LINK_CANARY in answer["url"]
    audio = await client.get(address + ".mp3")
    assert audio.status_code == 307
    assert LINK_CANARY in audio.headers["location"]


# What goes wrong


async def test_more_than_the_limit_is_turned_away_until_the_second_is_over(
    client: httpx.AsyncClient, world: World, clock: Clock
) -> None:
    world.seed([SeedRecording(key())])
    world.behaviour = Behaviour(rate_limit=3)
    answers = [await client.get(path(key())) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["retry-after"] == "1"
    clock.move(1000)
    assert (await client.get(path(key()))).status_code == 200


@given(st.lists(st.integers(0, 400), max_size=60), st.integers(1, 5))
def test_no_second_ever_passes_more_than_the_limit(gaps: list[int], limit: int) -> None:
    throttle, clock, passed = Throttle(), Clock(), []
    for gap in gaps:
        clock.move(gap)
        if throttle.refuse(WORKSPACE, limit, clock()) is None:
            passed.append(clock())
        assert throttle.refuse("another workspace", 10**6, clock()) is None
    for start in passed:
        assert sum(start <= moment < start + timedelta(seconds=1) for moment in passed) <= limit


async def test_scripted_statuses_come_as_often_as_they_were_asked_for(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key()), SeedRecording(key(1))])
    match = {"method": "PATCH", "recordingId": key().recording_id.upper(), "path_regex": "/recordings/"}
    await script(client, "status", match=match, times=2, status=429, retry_after=7)
    assert (await patch(client, key(1))).status_code == 202
    assert (await client.get(path(key()))).status_code == 200
    answers = [await patch(client, key()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 202]
    assert answers[0].headers["retry-after"] == "7"
    assert answers[0].json()["code"] == "TooManyRequests"


async def test_rules_stay_until_they_are_taken_back(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key())])
    await script(client, "status", times=None, status=500)
    assert {(await client.get(path(key()))).status_code for _ in range(5)} == {500}
    assert (await client.get("/_sandbox/state")).json()["rules"] == 1
    await client.delete("/_sandbox/faults")
    assert (await client.get(path(key()))).status_code == 200


@pytest.mark.parametrize(("action", "patches"), [("drop_before", 0), ("drop_after", 1)])
async def test_a_dropped_request_has_no_answer_and_says_nothing_of_its_effect(
    client: httpx.AsyncClient, world: World, caplog: pytest.LogCaptureFixture, action: str, patches: int
) -> None:
    world.seed([SeedRecording(key())])
    await script(client, action)
    with pytest.raises(httpx.RemoteProtocolError):
        await patch(client, key())
    assert next(world.recordings()).patches == patches
    assert caplog.text == ""
    (request,) = (await client.get("/_sandbox/requests")).json()["requests"]
    assert (request["status"], request["fault"]) == (None, action)


async def test_a_request_is_dropped_in_the_middle_of_its_body_too(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key())])
    # Held back, so that more of the body arrives than was read.
    await script(client, "drop_before", delay_ms=20)
    with pytest.raises(httpx.TransportError):
        await client.patch(path(key()), content=b" " * 500_000)
    assert (await client.get(path(key()))).status_code == 200


async def test_a_cut_answer_breaks_off(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key())])
    await script(client, "cut_body")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await patch(client, key())
    assert next(world.recordings()).patches == 1


@pytest.mark.parametrize(
    ("rule", "status", "content_type", "patches"),
    [
        ({"action": "html"}, 502, "text/html", 0),
        ({"action": "html", "status": 200}, 200, "text/html", 0),
        ({"action": "redirect"}, 307, None, 0),
        ({"action": "not_json"}, 202, "application/json", 1),
        ({"action": "200_instead_of_202"}, 200, "application/json", 1),
        ({"action": "status", "status": 409}, 409, "application/json", 0),
        ({"action": "status"}, 503, "application/json", 0),
        ({"action": "delay", "delay_ms": 1}, 202, "application/json", 1),
        ({"action": "delay_after", "delay_ms": 1}, 202, "application/json", 1),
        ({"action": "huge_body", "bytes": 300_000}, 202, "application/json", 1),
    ],
    ids=lambda value: value["action"] if isinstance(value, dict) else "",
)
async def test_spoiled_answers(
    client: httpx.AsyncClient,
    world: World,
    rule: dict[str, Any],
    status: int,
    content_type: str | None,
    patches: int,
) -> None:
    world.seed([SeedRecording(key())])
    await script(client, **rule)
    response = await patch(client, key())
    assert (response.status_code, response.headers.get("content-type")) == (status, content_type)
    assert next(world.recordings()).patches == patches
    if rule["action"] == "not_json":
        with pytest.raises(json.JSONDecodeError):
            response.json()
    if rule["action"] == "huge_body":
        assert 200_000 < len(response.content) < 400_000
        assert response.json()["results"] == []


async def test_a_redirect_that_is_followed_is_seen(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key())])
    await script(client, "redirect")
    assert (await client.get(path(key()), follow_redirects=True)).status_code == 404
    counts = (await client.get("/_sandbox/requests")).json()["counts"]
    assert counts["GET (unknown)"] == 1


async def test_an_ordinary_answer_is_not_made_an_accepted_one(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key())])
    await script(client, "200_instead_of_202")
    assert (await client.get(list_path(key()))).json()["results"]


@pytest.mark.parametrize(("action", "patches"), [("delay", 0), ("delay_after", 1)])
async def test_a_late_answer_tells_nothing_of_the_effect_and_closing_does_not_wait_for_it(
    world: World, caplog: pytest.LogCaptureFixture, action: str, patches: int
) -> None:
    world.seed([SeedRecording(key())])
    async with client_of(world) as client:
        await script(client, action, delay_ms=60_000)
        late = asyncio.create_task(patch(client, key()))
        while not (await client.get("/_sandbox/requests")).json()["requests"]:
            pass
        assert next(world.recordings()).patches == patches
        late.cancel()
    assert next(world.recordings()).patches == patches
    assert caplog.text == ""


async def test_a_request_that_its_client_gave_up_on_still_takes_effect(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key())])
    await script(client, "delay", delay_ms=50)
    with pytest.raises(httpx.ReadTimeout):
        await client.patch(path(key()), json={"status": "paused"}, timeout=httpx.Timeout(10, read=0.01))
    while not next(world.recordings()).patches:
        await client.get("/_sandbox/state")


async def test_every_answer_is_held_back_by_the_latency(client: httpx.AsyncClient, world: World) -> None:
    world.seed([SeedRecording(key())])
    assert (await control(client, "settings", latency_ms=20))["latency_ms"] == 20
    await client.get(path(key()))
    (request,) = (await client.get("/_sandbox/requests")).json()["requests"]
    assert request["ms"] >= 20


def failures(seed: int) -> list[Act | None]:
    faults = Faults(seed)
    taken = (faults.take("GET", "/", {}, 0.2) for _ in range(2000))
    return [None if fault is None else fault.act for fault in taken]


def test_random_faults_repeat_with_their_seed_and_come_at_their_rate() -> None:
    assert failures(1) == failures(1) != failures(2)
    struck = [act for act in failures(1) if act is not None]
    assert 300 < len(struck) < 500
    assert set(struck) == {Act.STATUS, Act.DROP_BEFORE, Act.DROP_AFTER, Act.CUT_BODY}


async def test_with_faults_by_rate_every_request_is_answered_or_broken_off(
    client: httpx.AsyncClient, world: World
) -> None:
    world.seed([SeedRecording(key())])
    await control(client, "settings", fault_rate=0.5, fault_seed=3)
    seen = set()
    for _ in range(60):
        try:
            seen.add((await client.get(path(key()))).status_code)
        except httpx.RemoteProtocolError:
            seen.add(0)
    assert seen == {0, 200, 503}


async def test_without_its_server_a_dropped_request_is_an_error(world: World) -> None:
    world.seed([SeedRecording(key())])
    transport = httpx.ASGITransport(make_app(world))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=HEADERS) as client:
        assert (await client.get(path(key()))).status_code == 200
        await script(client, "drop_before")
        with pytest.raises(ConnectionAbortedError):
            await client.get(path(key()))


# The switchboard


async def test_recordings_are_seeded_changed_and_forgotten_over_http(client: httpx.AsyncClient, world: World) -> None:
    ids = dict(zip(("workspaceId", "channelId", "callId", "recordingId"), key(), strict=True))
    assert await control(client, "seed", recordings=[ids, ids]) == {"added": 1}
    assert (await control(client, "set", recordingId=key().recording_id, status="paused"))["status"] == "paused"
    await patch(client, key(), "ongoing")
    state = (await client.get("/_sandbox/state")).json()
    assert state["recordings"] == [
        {**ids, "status": "paused", "callStatus": "ongoing", "pending": ["ongoing"], "patches": 1}
    ]
    assert await control(client, "end_call", callId=key().call_id) == {"ended": 1}
    assert world.call(key().call).status == "completed"
    await client.delete("/_sandbox/state")
    assert (await client.get("/_sandbox/state")).json()["recordings"] == []


async def test_requests_are_counted_and_told_in_the_order_of_their_arrival(
    client: httpx.AsyncClient, world: World
) -> None:
    world.seed([SeedRecording(key())])
    await client.get(list_path(key()), params={"limit": 99})
    await patch(client, key())
    await client.patch(path(key()), content=b"[]")
    record = (await client.get("/_sandbox/requests")).json()
    template = "/workspaces/{workspaceId}/channels/{channelId}/calls/{callId}/recordings"
    assert record["counts"] == {f"GET {template}": 1, f"PATCH {template}/{{recordingId}}": 2}
    assert record["total"] == 3
    assert [(entry["path"], entry["status"], entry["body"]) for entry in record["requests"]] == [
        (f"{list_path(key())}?limit=99", 200, None),
        (path(key()), 202, "paused"),
        (path(key()), 422, None),
    ]
    patches = (await client.get("/_sandbox/requests", params={"method": "PATCH"})).json()["requests"]
    assert [entry["method"] for entry in patches] == ["PATCH", "PATCH"]
    await client.delete("/_sandbox/requests")
    assert (await client.get("/_sandbox/requests")).json()["total"] == 0


IDS = dict(zip(("workspaceId", "channelId", "callId", "recordingId"), key(), strict=True))


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("seed", {}, 422),
        ("seed", [], 422),
        ("seed", {"recordings": [1]}, 422),
        ("seed", {"recordings": [{}]}, 422),
        ("seed", {"recordings": [{**IDS, "callId": "x"}]}, 422),
        ("seed", {"recordings": [{**IDS, "status": "gone"}]}, 422),
        ("seed", {"recordings": [{**IDS, "status": "dreaming"}]}, 422),
        ("seed", {"recordings": [{**IDS, "accepted_ms": "soon"}]}, 422),
        ("set", {"recordingId": uuid(7), "status": "paused"}, 404),
        ("set", {"recordingId": uuid(7)}, 422),
        ("end_call", {"callId": uuid(7)}, 404),
        ("settings", {"rate_limit": "x"}, 422),
        ("settings", {"rate_limit": -1}, 422),
        ("settings", {"settle_ms": float("nan")}, 422),
        ("settings", {"unheard_of": 1}, 422),
        ("faults", {"rules": [1]}, 422),
        ("faults", {"rules": [{"action": "explode"}]}, 422),
        ("faults", {"rules": [{"match": 1, "action": "html"}]}, 422),
        ("faults", {"rules": [{"match": {"verb": "GET"}, "action": "html"}]}, 422),
        ("faults", {"rules": [{"match": {"path_regex": "("}, "action": "html"}]}, 422),
        ("faults", {"rules": [{"match": {"method": []}, "action": "html"}]}, 422),
        ("faults", {"rules": [{"action": "status", "status": 99}]}, 422),
        ("faults", {"rules": [{"action": "status", "times": 0}]}, 422),
        ("faults", {"rules": [{"action": "status", "until": 0}]}, 422),
    ],
)
async def test_the_switchboard_says_what_is_wrong(
    client: httpx.AsyncClient, world: World, name: str, body: Any, status: int
) -> None:
    content = json.dumps(body)
    response = await client.post(f"/_sandbox/{name}", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    assert set(response.json()) == {"code", "message"}
    assert list(world.recordings()) == []


async def test_the_switchboard_answers_loopback_only(world: World) -> None:
    for client_address, status in (("192.0.2.1", 403), ("somewhere", 403), ("::1", 200), ("127.0.0.9", 200)):
        transport = httpx.ASGITransport(make_app(world), client=(client_address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/_sandbox/state")).status_code == status


async def test_the_switchboard_answers_no_web_page(client: httpx.AsyncClient, world: World) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example:80"):
        assert (await client.get("/_sandbox/state", headers={"Host": host})).status_code == 421
    for host in ("localhost:8421", "127.0.0.1", "[::1]:8421"):
        assert (await client.get("/_sandbox/state", headers={"Host": host})).status_code == 200
    for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await client.post("/_sandbox/settings", content="{}", headers={"Content-Type": content_type})
        assert answer.status_code == 415


def test_a_rule_fits_by_every_condition_that_it_has() -> None:
    rule = Rule.from_json({"action": "html", "match": {"method": "GET", "callId": uuid(1)}})
    assert rule.fits("GET", "/", {"callId": uuid(1)})
    assert not rule.fits("PATCH", "/", {"callId": uuid(1)})
    assert not rule.fits("GET", "/", {"callId": uuid(2)})
    assert not rule.fits("GET", "/", {})


# The server


async def test_the_server_leaves_signals_and_loggers_alone(world: World) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    level = logging.getLogger("uvicorn.error").level
    async with SandboxServer(world):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        assert logging.getLogger("uvicorn.error").level == level


async def test_two_servers_have_two_addresses_and_a_taken_one_is_an_error(world: World) -> None:
    async with SandboxServer(world) as one, SandboxServer(World()) as other:
        assert one.url != other.url
        with pytest.raises(OSError, match="in use"):
            async with SandboxServer(world, port=int(one.url.rpartition(":")[2])):
                pass


async def test_the_server_listens_on_the_other_loopback_too(world: World) -> None:
    async with SandboxServer(world, host="::1") as server, httpx.AsyncClient() as client:
        assert server.url.startswith("http://[::1]:")
        assert (await client.get(f"{server.url}/_sandbox/state")).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sandbox_of_its_own_runs_until_it_is_told_to_stop(number: signal.Signals) -> None:
    program = (
        "from reconciler.providers.bird.sandbox import World, run_sandbox\n"
        "run_sandbox('127.0.0.1', 0, World(), 'other', ready=lambda url: print(url, flush=True))\n"
        "print('left')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        answer = httpx.get(f"{url}/workspaces/{WORKSPACE}/recordings", headers={"Authorization": "AccessKey other"})
        assert answer.status_code == 404
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "left\n", "")
