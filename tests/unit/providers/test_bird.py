"""The Bird client: what its answers mean, how each failure is mapped, and that nothing but the one write can leave.

Aspects: readings (list, get, call, workspace's recordings, pages), the write, failures by status and by fault, what
errors must not say, the guard (by property), and both transports against real sockets: cancellation, hanging connects,
answers that are cut, endless or elsewhere. Not combined: every fault with every reading, because all of them pass the
same wire.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import re
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import __version__
from reconciler.model.errors import (
    CredentialRefused,
    LeaseLost,
    ProviderError,
    Rejected,
    SettingsError,
    Throttled,
    Unanswered,
    Unavailable,
    Unreached,
)
from reconciler.model.keys import CallKey, RecordingKey
from reconciler.model.statuses import LiveStatus, Status
from reconciler.model.work import Priority
from reconciler.providers.bird import (
    Bird,
    Circuits,
    Connection,
    ForbiddenRequest,
    Listeners,
    RequestMetric,
    Timeouts,
    TransportName,
)
from reconciler.providers.bird.answers import (
    RETRY_AFTER_LIMIT_SECONDS,
    error_words,
    is_json_type,
    notice_text,
    retry_after_seconds,
)
from reconciler.providers.bird.client import CALL_PAGES, LOOKUP_PAGES
from reconciler.providers.bird.guard import STATUS_BODIES, GuardedTransport, Route, recording_path
from reconciler.providers.bird.transport import UNACKNOWLEDGED_MS
from reconciler.providers.bird.wire import BODY_LIMIT
from reconciler.providers.gate.budget import Budgets
from reconciler.providers.gate.gate import Gate
from reconciler.telemetry.scrubbing import scrub
from tests.world.fake_bird import API_URL, KEY, FakeBird
from tests.world.sockets import a_server, answering, both_transports, full_queue, read_request, response

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
PHONE = "+1 (500) 555-0006"


def a_key(call: CallKey | None = None) -> RecordingKey:
    if call is None:
        call = CallKey(str(uuid.uuid4()), str(uuid.uuid4()), str(uuid.uuid4()))
    return RecordingKey(*call, str(uuid.uuid4()))


def a_bird(
    fake: FakeBird,
    *,
    api_url: str = API_URL,
    key_for: Callable[[str], str] = lambda _: KEY,
    budget: Budgets | None = None,
    transport: TransportName | httpx.AsyncBaseTransport | None = None,
    timeouts: Timeouts | None = None,
    on_request: Callable[[RequestMetric], None] | None = None,
    on_notice: Callable[[str, str], None] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    before_write: Callable[[], None] = lambda: None,
) -> Bird:
    return Bird(
        api_url=api_url,
        key_for=key_for,
        gate=Gate(budget or Budgets(0.0), Circuits(time.monotonic, random.random, on_change=lambda _change: None)),
        before_write=before_write,
        now=now,
        connection=Connection(transport or fake.transport, timeouts or Timeouts()),
        listeners=Listeners(on_request, on_notice),
    )


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until something holds."""
    while not condition():  # noqa: ASYNC110 - neither the double nor the gate has an event for what is waited for
        await asyncio.sleep(0)


@pytest.fixture
def fake() -> FakeBird:
    return FakeBird()


# Readings


async def test_one_list_answers_for_all_recordings_of_a_call(fake: FakeBird):
    first = a_key()
    keys = [first, *(a_key(first.call) for _ in range(6))]
    for key, word in zip(
        keys, ["accepted", "ongoing", "paused", "completed", "available", "absent", "failed"], strict=True
    ):
        fake.add(key, word)
    async with a_bird(fake, now=lambda: NOW) as bird:
        seen = await bird.observe_call(first.call, [key.recording_id for key in keys], priority=Priority.EDIT)
    assert [seen[key.recording_id].status.value for key in keys] == [fake.recordings[key] for key in keys]
    assert all(live.active and live.observed_at == NOW for live in seen.values())
    assert len(fake.requests) == 1
    assert fake.requests[0].query == {"limit": "99"}


async def test_lists_are_paged_to_the_end(fake: FakeBird):
    fake.page_size = 2
    first = a_key()
    keys = [first, *(a_key(first.call) for _ in range(6))]
    for key in keys:
        fake.add(key)
    async with a_bird(fake) as bird:
        seen = await bird.observe_call(first.call, [key.recording_id for key in keys], priority=Priority.EDIT)
    assert {live.status for live in seen.values()} == {LiveStatus.ONGOING}
    assert len(fake.requests) == 4


async def test_a_page_token_that_never_changes_ends_the_list_after_one_repetition(fake: FakeBird):
    fake.same_token = True
    key = a_key()
    fake.add(key, "paused")
    async with a_bird(fake) as bird:
        seen = await bird.observe_call(key.call, [key.recording_id], priority=Priority.EDIT)
        assert (await bird.list_recordings(key.call, priority=Priority.EDIT)).keys() == seen.keys()
    assert seen[key.recording_id].status is LiveStatus.PAUSED
    assert len(fake.requests) == 4


async def test_nothing_wanted_is_nothing_asked(fake: FakeBird):
    async with a_bird(fake) as bird:
        assert await bird.observe_call(a_key().call, [], priority=Priority.EDIT) == {}
    assert fake.requests == []


async def test_an_active_recording_that_the_list_leaves_out_is_found_by_itself(fake: FakeBird):
    key = a_key()
    fake.add(key, "completed")
    fake.listed = False
    async with a_bird(fake) as bird:
        seen = await bird.observe_call(key.call, [key.recording_id], priority=Priority.EDIT)
    assert (seen[key.recording_id].status, seen[key.recording_id].active) == (LiveStatus.COMPLETED, True)


async def test_a_recording_of_an_ended_call_is_found_among_the_workspaces_and_is_not_active(fake: FakeBird):
    key = a_key()
    other = a_key(key.call)
    fake.add(key)
    fake.add(other)
    fake.end_call(key.call)
    async with a_bird(fake) as bird:
        seen = await bird.observe_call(key.call, [key.recording_id, other.recording_id], priority=Priority.EDIT)
        assert await bird.find_workspace_recording(key, priority=Priority.EDIT) is not None
    for live in seen.values():
        assert (live.status, live.active, live.final) == (LiveStatus.AVAILABLE, False, True)
    searches = [path for path in fake.reads if path == f"/workspaces/{key.workspace_id}/recordings"]
    assert len(searches) == 2, "one for both in observe_call, one for the direct question"


async def test_what_only_shares_the_recordings_id_is_not_taken_for_it(fake: FakeBird):
    key = a_key()
    stranger = key._replace(call_id=str(uuid.uuid4()))
    fake.calls[key.call] = "completed"
    transport = httpx.MockTransport(
        _workspace_only([{"id": key.recording_id, "sourceId": stranger.call_id, "status": "available"}])
    )
    async with a_bird(fake, transport=transport) as bird:
        seen = await bird.observe_call(key.call, [key.recording_id], priority=Priority.EDIT)
    assert seen[key.recording_id].status is LiveStatus.GONE


def _workspace_only(results: list[dict[str, str]]) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        if re.fullmatch("/workspaces/[^/]+/recordings", request.url.path):
            return httpx.Response(200, json={"results": results, "nextPageToken": str(uuid.uuid4())})
        return httpx.Response(404, json={})

    return answer


async def test_a_search_in_an_endless_history_gives_up(fake: FakeBird):
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return _workspace_only([])(request)

    async with a_bird(fake, transport=httpx.MockTransport(answer)) as bird:
        assert await bird.find_workspace_recording(a_key(), priority=Priority.EDIT) is None
    assert asked == 3 * LOOKUP_PAGES


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (None, "does not know the call: check workspaceId, channelId and callId"),
        ("completed", "the call has ended (completed)"),
        ("ongoing", "the call is ongoing but has no such recording: check recordingId"),
        ("on-hold", "the call is on-hold but"),
    ],
)
async def test_a_recording_that_is_nowhere_is_gone_and_the_detail_says_what_is_known_of_the_call(
    fake: FakeBird, call: str | None, words: str
):
    key = a_key()
    if call:
        fake.calls[key.call] = call
    async with a_bird(fake) as bird:
        seen = await bird.observe_call(key.call, [key.recording_id], priority=Priority.EDIT)
    live = seen[key.recording_id]
    assert (live.status, live.active) == (LiveStatus.GONE, False)
    assert words in live.detail
    assert fake.reads.count(f"/workspaces/{key.workspace_id}/channels/{key.channel_id}/calls/{key.call_id}") == 1


async def test_the_last_search_is_bounded_by_the_time_of_the_call(fake: FakeBird):
    key = a_key()
    fake.calls[key.call] = "ongoing"
    async with a_bird(fake) as bird:
        await bird.observe_call(key.call, [key.recording_id], priority=Priority.EDIT)
    assert fake.requests[-1].query == {
        "limit": "99",
        "channelId": key.channel_id,
        "startAt": "2026-01-15T09:25:00.000Z",
    }


@pytest.mark.parametrize(
    ("record", "period"),
    [
        ({"createdAt": "soon", "endedAt": "2026-01-15T10:00:00Z"}, {"endAt": "2026-01-15T10:05:00.000Z"}),
        ({"createdAt": "0001-01-01T00:00:00Z", "endedAt": 5}, {}),
        ({"createdAt": "2026-01-15T10:00:00"}, {}),
    ],
    ids=["unreadable", "out of range", "no zone"],
)
async def test_a_time_of_the_call_that_cannot_be_read_bounds_nothing(
    fake: FakeBird, record: dict[str, object], period: dict[str, str]
):
    key = a_key()
    queries: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        queries.append(dict(request.url.params))
        if request.url.path.endswith(key.call_id):
            return httpx.Response(200, json={"status": "completed", **record})
        return httpx.Response(404)

    async with a_bird(fake, transport=httpx.MockTransport(answer)) as bird:
        await bird.observe_call(key.call, [key.recording_id], priority=Priority.EDIT)
    assert queries[-1] == {"limit": "99", "channelId": key.channel_id, **period}


async def test_ids_in_answers_are_compared_in_lower_case(fake: FakeBird):
    key = a_key()

    def answer(request: httpx.Request) -> httpx.Response:
        entry = {"id": key.recording_id.upper(), "status": "paused"}
        single = request.url.path.endswith(key.recording_id)
        return httpx.Response(200, json=entry if single else {"results": [entry], "nextPageToken": ""})

    async with a_bird(fake, transport=httpx.MockTransport(answer)) as bird:
        seen = await bird.observe_call(key.call, [key.recording_id], priority=Priority.EDIT)
        live = await bird.get_recording(key, priority=Priority.EDIT)
    assert seen[key.recording_id].status is LiveStatus.PAUSED
    assert live is not None
    assert live.status is LiveStatus.PAUSED


@pytest.mark.parametrize("word", ["initiated", "gone", "unknown", "", "x" * 500, "Ongoing", f"call {PHONE}"])
async def test_a_word_that_nobody_knows_is_unknown_and_kept_short_and_clean(fake: FakeBird, word: str):
    key = a_key()
    fake.add(key, word)
    async with a_bird(fake) as bird:
        live = await bird.get_recording(key, priority=Priority.EDIT)
    assert live is not None
    assert (live.status, live.active) == (LiveStatus.UNKNOWN, True)
    assert len(live.word) <= 64
    assert "555" not in live.word


@pytest.mark.parametrize("entry", [{}, {"status": None}, {"status": 7}])
async def test_a_recording_without_a_readable_status_is_unknown(fake: FakeBird, entry: dict[str, object]):
    key = a_key()
    transport = _always(httpx.Response(200, json={"id": key.recording_id, **entry}))
    async with a_bird(fake, transport=transport) as bird:
        live = await bird.get_recording(key, priority=Priority.EDIT)
    assert live is not None
    assert live.status is LiveStatus.UNKNOWN


async def test_of_a_recording_on_two_pages_the_later_word_counts(fake: FakeBird):
    key = a_key()

    def answer(request: httpx.Request) -> httpx.Response:
        later = "pageToken" in request.url.params
        entries: list[object] = [
            {"id": key.recording_id, "status": "paused" if later else "ongoing"},
            "noise",
            {"id": 4},
        ]
        return httpx.Response(200, json={"results": entries, **({} if later else {"nextPageToken": "a b/+=&?%"})})

    async with a_bird(fake, transport=httpx.MockTransport(answer)) as bird:
        listed = await bird.list_recordings(key.call, priority=Priority.EDIT)
    assert {name: live.status for name, live in listed.items()} == {key.recording_id: LiveStatus.PAUSED}


async def test_a_list_that_never_ends_is_an_error_and_not_a_loop(fake: FakeBird):
    asked = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(200, json={"results": [], "nextPageToken": f"token-{asked}"})

    async with a_bird(fake, transport=httpx.MockTransport(answer)) as bird:
        with pytest.raises(Unanswered, match="does not end") as caught:
            await bird.list_recordings(a_key().call, priority=Priority.EDIT)
    assert caught.value.code == "endless_list"
    assert asked == CALL_PAGES + 1


@pytest.mark.parametrize("kind", ["entries", "bytes"])
async def test_a_list_gives_no_more_than_any_list_could(fake: FakeBird, kind: str):
    asked = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        entry = {"id": str(uuid.uuid4()), "status": "ongoing", "more": "x" * (0 if kind == "entries" else 3_000_000)}
        results = [entry] * (4_000 if kind == "entries" else 1)
        return httpx.Response(200, json={"results": results, "nextPageToken": f"token-{asked}"})

    async with a_bird(fake, transport=httpx.MockTransport(answer)) as bird:
        with pytest.raises(Unanswered, match="has more than 10,000 entries or 16,777,216 bytes") as caught:
            await bird.list_recordings(a_key().call, priority=Priority.EDIT)
    assert caught.value.code == "endless_list"
    assert asked == (3 if kind == "entries" else 6)


async def test_of_a_list_only_what_can_be_an_identifier_is_kept(fake: FakeBird):
    key = a_key()
    entries = [
        {"id": key.recording_id.upper(), "status": "paused"},
        {"id": "x" * 100_000},
        {"id": key.recording_id + "0"},
    ]
    async with a_bird(fake, transport=_always(httpx.Response(200, json={"results": entries}))) as bird:
        assert set(await bird.list_recordings(key.call, priority=Priority.EDIT)) == {key.recording_id}


@pytest.mark.parametrize("content", [[], "text", 7, {}, {"results": None}, {"results": [], "nextPageToken": 5}])
async def test_a_list_of_another_shape_is_an_error(fake: FakeBird, content: object):
    transport = _always(httpx.Response(200, json=content))
    async with a_bird(fake, transport=transport) as bird:
        with pytest.raises(Unanswered) as caught:
            await bird.list_recordings(a_key().call, priority=Priority.EDIT)
    assert caught.value.code == "unexpected_body"


@pytest.mark.parametrize("content", [[], {}, {"id": str(uuid.uuid4()), "status": "paused"}])
async def test_another_recording_than_the_one_asked_for_is_an_error(fake: FakeBird, content: object):
    async with a_bird(fake, transport=_always(httpx.Response(200, json=content))) as bird:
        with pytest.raises(Unanswered, match="not the recording") as caught:
            await bird.get_recording(a_key(), priority=Priority.EDIT)
    assert caught.value.code == "unexpected_body"


async def test_a_call_is_read_as_its_status_word(fake: FakeBird):
    key = a_key()
    async with a_bird(fake) as bird:
        assert await bird.get_call(key.call, priority=Priority.EDIT) is None
        fake.calls[key.call] = "ringing"
        assert await bird.get_call(key.call, priority=Priority.EDIT) == "ringing"
    async with a_bird(fake, transport=_always(httpx.Response(200, json=[]))) as bird:
        with pytest.raises(Unanswered):
            await bird.get_call(key.call, priority=Priority.EDIT)


# The write


@pytest.mark.parametrize("status", list(Status))
async def test_a_status_is_set_by_one_patch_and_a_202_is_not_an_observation(fake: FakeBird, status: Status):
    key = a_key()
    fake.add(key)
    async with a_bird(fake, now=lambda: NOW) as bird:
        accepted = await bird.set_status(key, status)
    assert (accepted.status_code, accepted.requested_at) == (202, NOW)
    assert accepted.took_ms >= 0
    assert fake.patches == [(key, status.value)]
    assert json.loads(fake.requests[0].body) == {"status": status.value}
    assert len(fake.requests) == 1


async def test_requests_carry_the_key_the_version_and_nothing_that_was_not_meant(fake: FakeBird):
    key = a_key()
    fake.add(key)
    async with a_bird(fake) as bird:
        await bird.set_status(key, Status.PAUSED)
        await bird.list_recordings(key.call, priority=Priority.EDIT)
    patch, read = (dict(seen.headers.items()) for seen in fake.requests)
    common = {
        "host": "bird.test",
        "authorization": f"AccessKey {KEY}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"reconciler/{__version__}",
    }
    assert patch == {**common, "content-type": "application/json", "content-length": "19"}
    assert read == common


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_no_cookie_is_kept(transport: TransportName):
    requests: list[bytes] = []
    set_cookie = b"HTTP/1.1 202 Accepted\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with (
        a_server(answering(set_cookie, requests=requests)) as address,
        a_bird(FakeBird(), api_url=address, transport=transport) as bird,
    ):
        for _ in range(2):
            await bird.set_status(a_key(), Status.PAUSED)
    assert len(requests) == 2
    assert b"cookie" not in b"".join(requests).lower()


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_a_success_other_than_202_leaves_the_fate_of_a_patch_unknown(fake: FakeBird, status: int):
    fake.fail("PATCH", httpx.Response(status, json={"status": "paused"}))
    async with a_bird(fake) as bird:
        with pytest.raises(Unanswered) as caught:
            await bird.set_status(a_key(), Status.PAUSED)
    assert caught.value.code == "unexpected_status"


async def test_a_202_is_accepted_whatever_its_body_holds(fake: FakeBird):
    fake.fail("PATCH", httpx.Response(202, content=b"<html>", headers={"Content-Type": "text/html"}))
    fake.fail("PATCH", httpx.Response(202, content=b"x" * (BODY_LIMIT + 1)))
    async with a_bird(fake) as bird:
        for _ in range(2):
            assert (await bird.set_status(a_key(), Status.PAUSED)).status_code == 202


async def test_a_key_that_is_not_four_uuids_never_becomes_a_path(fake: FakeBird):
    key = a_key()
    async with a_bird(fake) as bird:
        for bad in (key._replace(recording_id=""), key._replace(call_id="../x"), key._replace(workspace_id="*")):
            with pytest.raises(ValueError, match="not a UUID"):
                await bird.set_status(bad, Status.PAUSED)
    assert fake.requests == []


# Failures


def _always(response: httpx.Response) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: response)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_a_refused_key_is_unauthorized_for_its_workspace(fake: FakeBird, method: str, status: int):
    key = a_key()
    fake.fail(method, status)
    async with a_bird(fake) as bird:
        with pytest.raises(CredentialRefused, match=f"answered {status}: Fault{status}") as caught:
            await _ask(bird, method, key)
    assert (caught.value.status, caught.value.workspace_id) == (status, key.workspace_id)


async def _ask(bird: Bird, method: str, key: RecordingKey) -> object:
    if method == "PATCH":
        return await bird.set_status(key, Status.PAUSED)
    return await bird.list_recordings(key.call, priority=Priority.EDIT)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("99999", RETRY_AFTER_LIMIT_SECONDS),
        ("9" * 40, RETRY_AFTER_LIMIT_SECONDS),
        (format_datetime(NOW + timedelta(seconds=12), usegmt=True), 12.0),
        (format_datetime(NOW - timedelta(days=12), usegmt=True), 0.0),
        ("Fri, 20 Nov 2026 12:00:05 -0000", 5.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_LIMIT_SECONDS),
        ("-5", None),
        ("soon", None),
        ("", None),
    ],
)
async def test_a_429_was_not_processed_and_its_retry_after_is_obeyed_within_a_limit(
    fake: FakeBird, value: str | None, seconds: float | None
):
    budget = Budgets(40.0)
    key = a_key()
    fake.fail("PATCH", httpx.Response(429, headers={} if value is None else {"Retry-After": value}))
    async with a_bird(fake, now=lambda: NOW, budget=budget) as bird:
        with pytest.raises(Throttled) as caught:
            await bird.set_status(key, Status.PAUSED)
    error = caught.value
    assert (error.code, error.retry_after) == ("http_429", seconds)
    assert budget.rate(key.workspace_id) <= 21
    assert budget.rate("another workspace") == 40


@pytest.mark.parametrize("status", [500, 502, 503, 599])
async def test_a_server_error_is_unavailable_and_may_have_taken_effect(fake: FakeBird, status: int):
    fake.fail("PATCH", httpx.Response(status, headers={"Retry-After": "3"}, text="<html>down</html>"))
    async with a_bird(fake) as bird:
        with pytest.raises(Unanswered) as caught:
            await bird.set_status(a_key(), Status.PAUSED)
    error = caught.value
    assert (error.code, error.status, error.retry_after) == (f"http_{status}", status, 3.0)


@pytest.mark.parametrize("status", [400, 404, 405, 409, 422])
async def test_any_other_refusal_of_a_patch_is_rejected_with_the_apis_code(fake: FakeBird, status: int):
    fake.fail("PATCH", status)
    fake.fail("PATCH", httpx.Response(status, text="no JSON"))
    fake.fail("PATCH", httpx.Response(status, json={"code": f"call {PHONE}", "message": 5}))
    async with a_bird(fake) as bird:
        for code in (f"Fault{status}", f"http_{status}", f"http_{status}"):
            with pytest.raises(Rejected) as caught:
                await bird.set_status(a_key(), Status.PAUSED)
            assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_a_redirect_is_never_followed(fake: FakeBird, method: str, status: int):
    fake.fail(method, httpx.Response(status, headers={"Location": f"{API_URL}/elsewhere"}))
    async with a_bird(fake) as bird:
        with pytest.raises(Unanswered, match="never followed") as caught:
            await _ask(bird, method, a_key())
    assert caught.value.code == "redirect"
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (httpx.Response(200, text="<html>", headers={"Content-Type": "text/html"}), "not_json"),
        (httpx.Response(200, content=b'{"results": [', headers={"Content-Type": "application/json"}), "not_json"),
        (httpx.Response(200, content=b"\xff\xfe\xfa", headers={"Content-Type": "application/json"}), "not_json"),
        (httpx.Response(200, content=b"[" * 100_000, headers={"Content-Type": "application/json"}), "not_json"),
        (httpx.Response(200, content=b"", headers={"Content-Type": "application/json"}), "not_json"),
        (httpx.Response(200, content=b"x" * (BODY_LIMIT + 1)), "body_too_large"),
        (httpx.Response(204), "unexpected_status"),
    ],
    ids=["html", "half", "not-utf8", "deep", "empty", "huge", "no-content"],
)
async def test_a_read_that_cannot_be_read_is_unavailable(fake: FakeBird, response: httpx.Response, code: str):
    metrics: list[RequestMetric] = []
    async with a_bird(fake, transport=_always(response), on_request=metrics.append) as bird:
        with pytest.raises(Unanswered) as caught:
            await bird.list_recordings(a_key().call, priority=Priority.EDIT)
    assert caught.value.code == code
    assert [metric.status for metric in metrics] == [204 if code == "unexpected_status" else code]


async def test_an_answer_in_an_encoding_that_was_not_asked_for_is_not_unpacked(fake: FakeBird):
    def answer(_: httpx.Request) -> httpx.Response:
        response = httpx.Response(200, json={"results": []})
        response.headers["Content-Encoding"] = "gzip"
        return response

    async with a_bird(fake, transport=httpx.MockTransport(answer)) as bird:
        with pytest.raises(Unanswered, match="encoded"):
            await bird.list_recordings(a_key().call, priority=Priority.EDIT)


@pytest.mark.parametrize(
    ("fault", "leaf", "code"),
    [
        (httpx.ConnectError("no"), Unreached, "connect"),
        (httpx.ConnectTimeout("no"), Unreached, "connect"),
        (httpx.PoolTimeout("no"), Unreached, "connect"),
        (httpx.ProxyError("no"), Unreached, "connect"),
        (httpx.ReadTimeout("no"), Unanswered, "timeout"),
        (httpx.WriteTimeout("no"), Unanswered, "timeout"),
        (httpx.ReadError("no"), Unanswered, "connection"),
        (httpx.WriteError("no"), Unanswered, "connection"),
        (httpx.RemoteProtocolError("no"), Unanswered, "connection"),
        (ConnectionResetError("no"), Unanswered, "connection"),
        (TimeoutError("no"), Unanswered, "timeout"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_only_a_fault_before_anything_was_sent_counts_as_not_sent(
    fake: FakeBird, fault: Exception, leaf: type[Unavailable], code: str
):
    fake.fail("PATCH", fault)
    async with a_bird(fake) as bird:
        with pytest.raises(leaf) as caught:
            await bird.set_status(a_key(), Status.PAUSED)
    assert caught.value.code == code
    assert caught.value.__cause__ is fault


async def test_the_whole_request_has_a_limit_of_its_own(fake: FakeBird):
    fake.gate = asyncio.Event()
    budget = Budgets(0.0)
    async with a_bird(fake, timeouts=Timeouts(total=0.01), budget=budget) as bird:
        with pytest.raises(Unanswered) as caught:
            await bird.set_status(a_key(), Status.PAUSED)
    assert caught.value.code == "timeout"
    assert budget.in_flight == 0


async def test_every_request_is_measured_by_its_template_and_how_it_ended(fake: FakeBird):
    metrics: list[RequestMetric] = []
    key = a_key()
    fake.add(key)
    async with a_bird(fake, on_request=metrics.append) as bird:
        await bird.list_recordings(key.call, priority=Priority.EDIT)
        await bird.set_status(key, Status.PAUSED)
        await bird.get_call(key.call, priority=Priority.EDIT)
        fake.end_call(key.call)
        with pytest.raises(Rejected):
            await bird.set_status(key, Status.PAUSED)
        fake.fail("GET", httpx.ReadError(""))
        with pytest.raises(Unanswered):
            await bird.find_workspace_recording(key, priority=Priority.EDIT)
        fake.gate = asyncio.Event()
        waiting = asyncio.create_task(bird.get_recording(key, priority=Priority.EDIT))
        await until(lambda: len(fake.requests) == 6)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    call = "/workspaces/{w}/channels/{c}/calls/{k}"
    assert [(metric.method, metric.route, metric.status) for metric in metrics] == [
        ("GET", f"{call}/recordings", 200),
        ("PATCH", f"{call}/recordings/{{r}}", 202),
        ("GET", call, 200),
        ("PATCH", f"{call}/recordings/{{r}}", 404),
        ("GET", "/workspaces/{w}/recordings", "connection"),
        ("GET", f"{call}/recordings/{{r}}", "aborted"),
    ]
    assert all(metric.seconds >= 0 for metric in metrics)


async def test_a_deprecation_is_told_once(fake: FakeBird):
    notices: list[tuple[str, str]] = []
    headers = {"Deprecation": "@1688169599", "Sunset": "Sun, 11 Nov 2026 23:59:59 GMT"}
    transport = httpx.MockTransport(lambda _: httpx.Response(404, headers=headers))
    async with a_bird(fake, transport=transport, on_notice=lambda name, value: notices.append((name, value))) as bird:
        for _ in range(3):
            await bird.get_call(a_key().call, priority=Priority.EDIT)
    assert notices == list(headers.items())


async def test_without_anybody_to_tell_a_deprecation_is_no_matter(fake: FakeBird):
    async with a_bird(fake, transport=_always(httpx.Response(404, headers={"Sunset": "soon"}))) as bird:
        assert await bird.get_call(a_key().call, priority=Priority.EDIT) is None


# Keys and addresses


async def test_the_key_is_asked_for_with_each_request_by_workspace(fake: FakeBird):
    key, other = a_key(), a_key()
    keys = {key.workspace_id: "key-1", other.workspace_id: "key-2"}
    async with a_bird(fake, key_for=keys.__getitem__) as bird:
        for fake.key in ("key-1", "key-3"):
            keys[key.workspace_id] = fake.key
            assert await bird.get_call(key.call, priority=Priority.EDIT) is None
        with pytest.raises(CredentialRefused):
            await bird.get_call(other.call, priority=Priority.EDIT)


@pytest.mark.parametrize("secret", ["bk_live_12345", "", "two words", "line\n", "tab\t", "ключ", "\x00"])
async def test_a_key_that_cannot_be_meant_is_refused_and_not_shown(fake: FakeBird, secret: str):
    budget = Budgets(0.0)
    async with a_bird(fake, key_for=lambda _: secret, budget=budget) as bird:
        with pytest.raises(CredentialRefused) as caught:
            await bird.set_status(a_key(), Status.PAUSED)
    assert secret == "" or secret not in str(caught.value)
    assert fake.requests == []
    assert budget.in_flight == 0


@pytest.mark.parametrize(
    "address",
    ["", "api.bird.com", "ftp://api.bird.com", "http://", "https://user:pass@api.bird.com", "https://api.bird.com/?a=b",
     "https://api.bird.com/#top", "https://[::1", "http://\x00", "https://h/x/%2e%2e", "https://h/x/../y", "https://h/./y",
     "https://h/x%2Fy", "https://h/..", "https://h/x/..%2f", "https://h/a b", "https://h/%41", "https://h\\@api.bird.com/"],
)  # fmt: skip
def test_an_address_that_cannot_be_meant_is_refused(fake: FakeBird, address: str):
    with pytest.raises(SettingsError, match="API address") as caught:
        a_bird(fake, api_url=address)
    assert "pass" not in str(caught.value)


async def test_a_path_in_the_address_is_a_prefix(fake: FakeBird):
    key = a_key()
    paths: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(202)

    async with a_bird(fake, api_url="https://gateway.test/bird/", transport=httpx.MockTransport(answer)) as bird:
        await bird.set_status(key, Status.PAUSED)
    assert paths == [f"/bird{recording_path(key)}"]


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
async def test_the_environments_proxy_is_used_for_both_transports(
    monkeypatch: pytest.MonkeyPatch, transport: TransportName, name: str
):
    connects: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connects.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0])
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with a_server(proxy) as address:
        monkeypatch.setenv(name, address)
        monkeypatch.setenv("NO_PROXY", "elsewhere.test")
        async with a_bird(FakeBird(), transport=transport) as bird:
            with pytest.raises(Unreached) as caught:
                await bird.set_status(a_key(), Status.PAUSED)
    assert connects == [b"CONNECT bird.test:443 HTTP/1.1"]
    assert caught.value.code == "connect"


async def test_no_proxy_and_loopback_go_straight(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "nonsense://secret@nowhere")
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://secret@nowhere")
    monkeypatch.setenv("NO_PROXY", ".bird.test")
    a_bird(FakeBird(), transport="aiohttp", api_url="http://127.0.0.1:1")
    a_bird(FakeBird(), transport="aiohttp", api_url="https://api.bird.test")
    with pytest.raises(SettingsError, match="proxy") as caught:
        a_bird(FakeBird(), transport="aiohttp", api_url="https://api.bird.com")
    assert "secret" not in str(caught.value)


# What errors say


SECRETS = [
    KEY,
    PHONE,
    "+15005550006",
    "(500) 555-0006",
    "0171/2345678",
    "49 30 12345-67",
    "X-Amz-Signature=abc",
    "bk_live_1",
]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503])
async def test_no_error_repeats_a_key_a_phone_number_or_a_link(fake: FakeBird, status: int):
    message = " and ".join(
        [*SECRETS, f"AccessKey {KEY}", "https://media.test/x.mp3?X-Amz-Signature=abc", "\x1b[31m\r\n"]
    )
    body = {"code": f"Bad {PHONE}", "message": message, "details": {"from": [PHONE]}}
    fake.fail("PATCH", httpx.Response(status, json=body))
    async with a_bird(fake) as bird:
        with pytest.raises(ProviderError) as caught:
            await bird.set_status(a_key(), Status.PAUSED)
    said = f"{caught.value} {vars(caught.value)}"
    for secret in SECRETS:
        assert secret not in said.replace("&", "")
    assert not re.search(r"555\D*0006", said)
    assert "\x1b" not in said
    assert "\n" not in said


def test_what_only_looks_like_a_number_stays():
    text = "recording 12345678-1234-1234-1234-123456789012 of 2026-01-15T09:31:12.345Z, limit 1000, 422"
    assert scrub(text, "") == text


@given(st.text(alphabet="ab:/.-+() 0123456789Bearer", max_size=80))
def test_no_seven_digits_in_a_row_survive(text: str):
    kept = re.sub(r"\d{4}-\d\d-\d\d(T[\d:.]+Z?)?", "", scrub(text, ""))
    assert not re.search(r"\d{7}", kept)


@given(st.text(max_size=2000))
def test_scrubbed_text_is_short_printable_and_without_the_key(text: str):
    said = scrub(f"{text}{KEY}{text}", KEY)
    assert len(said) <= 256
    assert said.isprintable()
    assert KEY not in said


@given(st.binary(max_size=300))
def test_no_error_body_is_too_strange(body: bytes):
    code, words = error_words(body, KEY)
    assert code is None or len(code) <= 64
    assert len(words) <= 330


@given(st.text(max_size=60))
def test_no_retry_after_is_too_strange(value: str):
    seconds = retry_after_seconds(value, NOW)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_LIMIT_SECONDS


@pytest.mark.parametrize(
    "kind", [None, "application/json", "Application/JSON; charset=utf-8", "application/problem+json"]
)
def test_json_is_known_by_its_type(kind: str | None):
    assert is_json_type(kind)


@pytest.mark.parametrize("kind", ["", "text/html", "application/jsonp", "json", "application/x-ndjson"])
def test_other_types_are_not_json(kind: str):
    assert not is_json_type(kind)


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"<html>", b""])
def test_an_error_body_of_another_shape_says_nothing(body: bytes):
    assert error_words(body, KEY) == (None, "")


def test_a_notice_that_is_no_timestamp_is_scrubbed():
    assert notice_text(f"call {PHONE}", "") == "call <number>"


# The guard


class Leak(httpx.AsyncBaseTransport):
    """Counts what the guard let through."""

    def __init__(self) -> None:
        self.leaked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.leaked.append(request)
        return httpx.Response(202)


UUIDS = st.uuids().map(str)
SEGMENTS = st.one_of(
    UUIDS,
    UUIDS.map(str.upper),
    st.sampled_from(["workspaces", "channels", "calls", "recordings", "", ".", "..", "%2e%2e", "%2F", "x", "*"]),
)


@st.composite
def paths(draw: st.DrawFn) -> str:
    """Draw paths near the real ones: cut, extended, with a segment changed, and any others."""
    key = RecordingKey(*(draw(UUIDS) for _ in range(4)))
    segments = recording_path(key).split("/")[1:]
    segments = segments[: draw(st.sampled_from([*range(len(segments) + 1), 6, 7, 8, 8, 8]))]
    if draw(st.booleans()) and segments:
        segments[draw(st.integers(0, len(segments) - 1))] = draw(SEGMENTS)
    if draw(st.booleans()):
        segments += draw(st.lists(SEGMENTS, max_size=2))
    tail = draw(st.sampled_from(["", "", "", "/", "?", "?a=b", "#x", ".mp3", ";x", "%00", "\n"]))
    return "/" + "/".join(segments) + tail


BODIES = st.one_of(
    st.sampled_from([*STATUS_BODIES.values(), b"", b"{}", b'{"status":"accepted"}', b'{"status":"paused","x":1}']),
    st.binary(max_size=30),
)
METHODS = st.sampled_from(
    ["GET", "PATCH", "PATCH", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW"]
)
ELSEWHERE = ["http://bird.test", "https://bird.test:8443", "https://evil.test", "https://a@bird.test"]
HOSTS = st.sampled_from([API_URL, API_URL, API_URL, *ELSEWHERE])
WRITE = re.compile(
    r"/workspaces/{0}/channels/{0}/calls/{0}/recordings/{0}".format(r"[0-9a-f-]{36}"),
)


@settings(max_examples=500, deadline=None)
@given(method=METHODS, host=HOSTS, path=paths(), body=BODIES)
def test_nothing_but_known_reads_and_the_one_write_gets_past_the_guard(method: str, host: str, path: str, body: bytes):
    try:
        request = httpx.Request(method, host + path, content=body)
    except httpx.InvalidURL:
        return
    leak = Leak()
    guard = GuardedTransport(leak, httpx.URL(API_URL))
    try:
        asyncio.run(guard.handle_async_request(request))
    except ForbiddenRequest:
        assert leak.leaked == []
        return
    assert host == API_URL
    target = request.url.raw_path.decode()
    if request.method == "PATCH":
        assert WRITE.fullmatch(target)
        assert body in STATUS_BODIES.values()
    else:
        assert request.method == "GET"
        assert body == b""
        assert not re.search(r"\.\.|%2|//", target.partition("?")[0])


@settings(max_examples=100, deadline=None)
@given(key=st.builds(RecordingKey.of, UUIDS, UUIDS, UUIDS, UUIDS), status=st.sampled_from(Status))
def test_the_one_write_always_gets_past_the_guard(key: RecordingKey, status: Status):
    guard = GuardedTransport(Leak(), httpx.URL("http://127.0.0.1:1/a/prefix"))
    url = f"http://127.0.0.1:1/a/prefix{recording_path(key)}"
    guard.check(httpx.Request("PATCH", url, content=STATUS_BODIES[status]))
    with pytest.raises(ForbiddenRequest):
        guard.check(httpx.Request("PATCH", url.rpartition("/recordings/")[0], content=STATUS_BODIES[status]))


NEAR = recording_path(RecordingKey(*["3fa85f64-5717-4562-b3fc-2c963f66afa6"] * 4))


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        *[(method, API_URL + NEAR, b'{"status":"paused"}') for method in ("GET", "POST", "PUT", "DELETE", "HEAD")],
        *[(method, API_URL + NEAR, b"") for method in ("PATCH", "POST", "DELETE", "HEAD", "OPTIONS")],
        ("PATCH", API_URL + NEAR, b'{"status":"accepted"}'),
        ("PATCH", API_URL + NEAR, b'{"status":"paused","status":"completed"}'),
        ("PATCH", API_URL + NEAR + "?x=y", b'{"status":"paused"}'),
        ("PATCH", API_URL + NEAR + "/", b'{"status":"paused"}'),
        ("PATCH", API_URL + NEAR.upper(), b'{"status":"paused"}'),
        ("PATCH", API_URL + "/prefix" + NEAR, b'{"status":"paused"}'),
        ("PATCH", API_URL + NEAR.rpartition("/recordings/")[0], b'{"status":"completed"}'),
        *[("PATCH", host + NEAR, b'{"status":"paused"}') for host in ELSEWHERE],
        *[("GET", host + NEAR, b"") for host in ELSEWHERE],
    ],
)
def test_what_is_only_near_the_one_write_or_a_read_is_refused(method: str, url: str, body: bytes):
    guard = GuardedTransport(Leak(), httpx.URL(API_URL))
    guard.check(httpx.Request("PATCH", API_URL + NEAR, content=b'{"status":"paused"}'))
    guard.check(httpx.Request("GET", API_URL + NEAR))
    with pytest.raises(ForbiddenRequest):
        guard.check(httpx.Request(method, url, content=body))


async def test_the_patch_that_hangs_up_a_call_cannot_leave_through_the_client(fake: FakeBird):
    key = a_key()
    fake.add(key)
    bird = a_bird(fake)
    call = recording_path(key).rpartition("/recordings/")[0]
    with pytest.raises(ForbiddenRequest):
        await bird._wire.patch(Route.CALL, key.workspace_id, call, STATUS_BODIES[Status.COMPLETED])
    assert fake.requests == []


async def test_a_body_that_cannot_be_looked_at_is_refused():
    async def stream() -> AsyncIterator[bytes]:
        yield b'{"status":"paused"}'

    request = httpx.Request("PATCH", API_URL + recording_path(a_key()), content=stream())
    with pytest.raises(ForbiddenRequest):
        GuardedTransport(Leak(), httpx.URL(API_URL)).check(request)


async def test_the_double_fails_on_any_other_write(fake: FakeBird):
    for method, path in (("POST", recording_path(a_key())), ("PATCH", "/workspaces"), ("DELETE", "/")):
        with pytest.raises(AssertionError, match="must never be sent"):
            await fake.transport.handle_async_request(httpx.Request(method, API_URL + path, content=b"{}"))
    assert len(fake.violations) == 3


# Real sockets


CALL_BODY = b'{"id": "x", "status": "ongoing"}'


@both_transports
async def test_reads_and_the_write_work_over_a_real_socket_on_one_connection(transport: TransportName):
    requests: list[bytes] = []
    key = a_key()
    page = json.dumps(
        {"results": [{"id": key.recording_id, "status": "paused"}], "nextPageToken": "a b/+=&?%\u00e9"}
    ).encode()
    handler = answering(
        response("200 OK", page), response("404 Not Found", b"{}"), response("202 Accepted", b"{}"), requests=requests
    )
    async with a_server(handler) as address, a_bird(FakeBird(), api_url=address, transport=transport) as bird:
        listed = await bird.list_recordings(key.call, priority=Priority.EDIT)
        accepted = await bird.set_status(key, Status.PAUSED)
    assert listed[key.recording_id].status is LiveStatus.PAUSED
    assert accepted.status_code == 202
    first, second, patch = requests
    assert first.startswith(f"GET {recording_path(key).rpartition('/')[0]}?limit=99 HTTP/1.1\r\n".encode())
    target = second.split(b" ")[1].decode()
    assert httpx.URL(target).params["pageToken"] == "a b/+=&?%\u00e9"
    assert patch.startswith(f"PATCH {recording_path(key)} HTTP/1.1\r\n".encode())
    assert patch.endswith(b'\r\n\r\n{"status":"paused"}')
    headers = {line.split(b":")[0].lower() for line in patch.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]}
    assert headers - {b"connection"} == {
        b"host", b"authorization", b"accept", b"accept-encoding", b"user-agent", b"content-type", b"content-length",
    }  # fmt: skip


@both_transports
async def test_a_patch_asks_for_the_last_time_when_its_connection_is_there_and_then_sends_nothing(
    transport: TransportName,
):
    requests: list[bytes] = []
    timeouts_of_sockets: list[int] = []

    def ask() -> None:
        here = {each for each in gc.get_objects() if type(each) is socket.socket and each.fileno() >= 0}
        connected = [each for each in here if _peer(each) == place]
        if connected:
            timeouts_of_sockets.append(connected[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
            raise LeaseLost("it ran out while the connection was made")

    async with a_server(answering(response("202 Accepted", b"{}"), requests=requests)) as address:
        place = httpx.URL(address).port
        async with a_bird(FakeBird(), api_url=address, transport=transport, before_write=ask) as bird:
            with pytest.raises(LeaseLost):
                await bird.set_status(a_key(), Status.PAUSED)
    assert requests == []
    # Less than the three seconds for which nobody asks: the kernel sends no PATCH when another may hold the state.
    assert timeouts_of_sockets == [UNACKNOWLEDGED_MS]
    assert UNACKNOWLEDGED_MS < 3000


def _peer(opened: socket.socket) -> int | None:
    try:
        return int(opened.getpeername()[1]) if opened.family == socket.AF_INET else None
    except OSError:
        return None


@both_transports
async def test_a_connection_that_breaks_after_the_request_leaves_a_patch_of_unknown_fate(transport: TransportName):
    async with a_server(answering(None)) as address, a_bird(FakeBird(), api_url=address, transport=transport) as bird:
        with pytest.raises(Unanswered) as caught:
            await bird.set_status(a_key(), Status.PAUSED)
    assert caught.value.code == "connection"


@both_transports
async def test_a_patch_is_never_sent_twice_by_the_transport(transport: TransportName):
    requests: list[bytes] = []
    handler = answering(response("200 OK", CALL_BODY), None, requests=requests)
    async with a_server(handler) as address, a_bird(FakeBird(), api_url=address, transport=transport) as bird:
        assert await bird.get_call(a_key().call, priority=Priority.EDIT) == "ongoing"
        with pytest.raises(Unanswered):
            await bird.set_status(a_key(), Status.PAUSED)
    assert [request[:5] for request in requests] == [b"GET /", b"PATCH"]


@both_transports
async def test_a_read_is_never_sent_twice_by_the_transport(transport: TransportName):
    requests: list[bytes] = []
    handler = answering(response("200 OK", CALL_BODY), None, requests=requests)
    async with a_server(handler) as address, a_bird(FakeBird(), api_url=address, transport=transport) as bird:
        assert await bird.get_call(a_key().call, priority=Priority.EDIT) == "ongoing"
        with pytest.raises(Unanswered):
            await bird.get_call(a_key().call, priority=Priority.EDIT)
    assert len(requests) == 2


@both_transports
async def test_nobody_listening_means_nothing_was_sent(transport: TransportName):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with a_bird(FakeBird(), api_url=address, transport=transport) as bird:
            with pytest.raises(Unreached, match=r"cannot connect to 127\.0\.0\.1") as caught:
                await bird.set_status(a_key(), Status.PAUSED)
    assert caught.value.code == "connect"


@both_transports
async def test_an_answer_that_never_comes_is_a_timeout_of_unknown_fate(transport: TransportName):
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    timeouts = Timeouts(read=0.05)
    async with (
        a_server(silent) as address,
        a_bird(FakeBird(), api_url=address, transport=transport, timeouts=timeouts) as bird,
    ):
        with pytest.raises(Unanswered) as caught:
            await bird.set_status(a_key(), Status.PAUSED)
    assert caught.value.code == "timeout"


@both_transports
async def test_an_answer_that_is_cut_off_is_no_answer(transport: TransportName):
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response("200 OK", CALL_BODY, length=500))
        await writer.drain()

    async with a_server(cut) as address, a_bird(FakeBird(), api_url=address, transport=transport) as bird:
        with pytest.raises(Unanswered) as caught:
            await bird.get_call(a_key().call, priority=Priority.EDIT)
    assert caught.value.code == "connection"


@both_transports
async def test_a_status_counts_even_if_its_body_is_cut_off(transport: TransportName):
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        status = "202 Accepted" if request.startswith(b"PATCH") else "429 Too Many Requests"
        writer.write(response(status, b'{"id": ', length=500))
        await writer.drain()

    async with a_server(cut) as address, a_bird(FakeBird(), api_url=address, transport=transport) as bird:
        assert (await bird.set_status(a_key(), Status.PAUSED)).status_code == 202
        with pytest.raises(Throttled):
            await bird.get_call(a_key().call, priority=Priority.EDIT)


@both_transports
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_huge_body_is_cut_off_at_the_limit(transport: TransportName, chunked: bool):
    written = 0
    part = b"x" * 65536

    async def huge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        writer.write(
            head + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: 104857600\r\n\r\n")
        )
        for _ in range(1600):
            writer.write(b"10000\r\n" + part + b"\r\n" if chunked else part)
            await writer.drain()
            written += len(part)

    async with a_server(huge) as address, a_bird(FakeBird(), api_url=address, transport=transport) as bird:
        with pytest.raises(Unanswered) as caught:
            await bird.list_recordings(a_key().call, priority=Priority.EDIT)
    assert caught.value.code == "body_too_large"
    assert written < 40 * 1024 * 1024


@both_transports
async def test_what_is_not_http_is_a_broken_connection_and_shows_neither_bytes_nor_key(transport: TransportName):
    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(f"SSH-2.0 {PHONE}\r\n\r\n".encode())
        await writer.drain()

    async with a_server(noise) as address, a_bird(FakeBird(), api_url=address, transport=transport) as bird:
        with pytest.raises(Unanswered) as caught:
            await bird.get_call(a_key().call, priority=Priority.EDIT)
    assert caught.value.code == "connection"
    chain = f"{caught.value!r} {caught.value.__cause__!r}"
    assert "555" not in str(caught.value)
    assert KEY not in chain


@both_transports
async def test_after_two_hundred_cancelled_requests_to_a_stalled_server_the_next_is_served(transport: TransportName):
    stalled = True
    waiting = 0
    all_waiting = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        while True:
            await read_request(reader)
            if stalled:
                waiting += 1
                if waiting == 8:
                    all_waiting.set()
                await reader.read()
            writer.write(response("200 OK", CALL_BODY))
            await writer.drain()

    budget = Budgets(0.0, concurrency=8)
    timeouts = Timeouts(pool=2.0)
    async with (
        a_server(handler) as address,
        a_bird(FakeBird(), api_url=address, transport=transport, budget=budget, timeouts=timeouts) as bird,
    ):
        tasks = [asyncio.create_task(bird.get_call(a_key().call, priority=Priority.EDIT)) for _ in range(200)]
        await all_waiting.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)
        stalled = False
        for _ in range(10):
            assert await bird.get_call(a_key().call, priority=Priority.EDIT) == "ongoing"
    assert budget.in_flight == 0


@both_transports
@pytest.mark.parametrize("ending", ["cancelled", "timed out"])
async def test_after_connects_that_hang_the_next_request_is_served(transport: TransportName, ending: str):
    hanging = ExitStack()
    listening = hanging.enter_context(full_queue())
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    budget = Budgets(0.0, concurrency=8)
    timeouts = Timeouts(connect=0.1, pool=0.1) if ending == "timed out" else Timeouts()
    async with a_bird(FakeBird(), api_url=address, transport=transport, budget=budget, timeouts=timeouts) as bird:
        tasks = [asyncio.create_task(bird.set_status(a_key(), Status.PAUSED)) for _ in range(24)]
        if ending == "cancelled":
            await until(lambda: budget.in_flight == 8)
            for task in tasks:
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        if ending == "timed out":
            assert {type(error) for error in outcomes if isinstance(error, Unavailable)} == {Unreached}
        hanging.close()
        async with a_server(answering(response("202 Accepted", b"{}")), listening):
            for _ in range(10):
                assert await is_served_in_the_end(bird)
    assert budget.in_flight == 0


async def is_served_in_the_end(bird: Bird) -> bool:
    """Try a few times: on a busy machine a connect may take longer than the short time-out of a test allows."""
    for _ in range(50):
        with suppress(Unavailable):
            return (await bird.set_status(a_key(), Status.PAUSED)).status_code == 202
    return False
