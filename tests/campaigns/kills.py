"""Kills at random moments, with edits going on: nothing may be lost, sent twice, or overruled by an older edit.

The daemon runs, people edit documents, and the daemon is killed, again and again: in its start, at rest, and most often
just after an edit, when something is under way. In the end every recording must be as its document says, and the
sandbox's record of the requests must show that each PATCH was needed.

By hand, from the top folder: `python -m tests.campaigns.kills --kills 200 --recordings 500`.
`--fault-rate 0.2` lets a fifth of the requests fail on top of that, some of them after they took effect.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from reconciler.model.statuses import Phase
from reconciler.providers.bird.sandbox.faults import WITHOUT_EFFECT
from reconciler.state.opening import open_store
from tests.world.scene import Scene, Seen, Subject, set_of, subjects
from tests.world.started import eventually

#: Recordings ended in a campaign: fewer than the safety limit of 25 in ten minutes, so that none has to be overridden.
MOST_COMPLETED = 20
#: Recordings whose documents stand together in one set; the others have a file each.
IN_SET = 20
#: Below so many recordings, these edits are half of them within seconds, which a safety limit is there to refuse.
FEW = 300
SETTLE_MS = 150.0


@dataclass
class Counts:
    """What happened, and what was wrong with it; everything in `wrong` is a broken promise."""

    recordings: int = 0
    kills: int = 0
    kills_before_ready: int = 0
    edits: int = 0
    edits_while_dead: int = 0
    completed: int = 0
    patches: int = 0
    reads: int = 0
    #: How many recordings had something under way (an intent or an acceptance, unconfirmed) at a kill, over all kills.
    caught_under_way: int = 0
    #: PATCHes to the status of the PATCH before, with a read between that could not show the effect of that one.
    repeated_after_a_read: int = 0
    #: Requests that the sandbox let fail, some of them with effect.
    faults: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return json.dumps(asdict(self), indent=1)


class Campaign:
    """One campaign: the documents as they are now, what they were, and what has been seen."""

    def __init__(self, scene: Scene, *, recordings: int, fault_rate: float, seed: int) -> None:
        self.scene = scene
        self.counts = Counts(recordings=recordings)
        self.subjects = subjects(recordings, per_call=2)
        self.wanted: dict[Subject, str] = dict.fromkeys(self.subjects, "ongoing")
        #: What each document has asked for, one entry an edit.
        self.versions: dict[Subject, list[str]] = {subject: ["ongoing"] for subject in self.subjects}
        self.requests: list[Seen] = []
        self._fault_rate = fault_rate
        self._chance = random.Random(seed)
        self._together = self.subjects[:IN_SET]
        self._ended: set[Subject] = set()
        self._options = ("--max-change-percent", "100") if recordings < FEW else ()

    def set_up(self) -> None:
        self.scene.sandbox.seed(subject.seed() for subject in self.subjects)
        self.scene.sandbox.control("POST", "settings", {"fault_rate": self._fault_rate})
        self._write_set()
        for subject in self.subjects[IN_SET:]:
            self.scene.write(f"{subject.name}.yaml", subject.document("ongoing"))

    def edit(self, most: int) -> None:
        """Save some documents, as one person does in one go."""
        chosen = self._chance.sample(self.subjects, self._chance.randint(1, most))
        for subject in chosen:
            if subject in self._ended:
                continue
            status = "ongoing" if self.wanted[subject] == "paused" else "paused"
            if len(self._ended) < MOST_COMPLETED and self._chance.random() < 0.01:
                status = "completed"
                self._ended.add(subject)
            self.wanted[subject] = status
            self.versions[subject].append(status)
            self.counts.edits += 1
            if subject not in self._together:
                text = subject.document(status)
                self.scene.write(f"{subject.name}.yaml", text, in_place=self._chance.random() < 0.5)
        if not self._ended.isdisjoint(chosen) or not set(self._together).isdisjoint(chosen):
            self._write_set()

    def _write_set(self) -> None:
        items = [subject.item(self.wanted[subject]) for subject in self._together]
        self.scene.write("together.yaml", set_of("together", items))

    def life(self) -> None:
        """Let the daemon live for a while, and kill it."""
        chance = self._chance
        # Some lives without a limit of the rate, some at the default one, where a resync lasts as long as they do.
        rate = chance.choice(("0", "0", "45", "200"))
        with self.scene.daemon("--rate-limit", rate, *self._options) as daemon:
            if chance.random() < 0.15:
                self.counts.kills_before_ready += 1
                time.sleep(chance.uniform(0.0, 1.0))  # the random moment of the kill is the experiment
            else:
                daemon.wait_for("started")
                for _ in range(chance.randint(0, 6)):
                    self.edit(8)
                    time.sleep(chance.expovariate(12))  # people save at random moments
                if chance.random() < 0.7:
                    self.edit(8)
                    # From the save to the confirmation takes about 0.3 seconds: die somewhere in them.
                    time.sleep(chance.uniform(0.0, 0.35))
            assert daemon.process.poll() is None, daemon.said()
            daemon.kill()
        self.counts.kills += 1
        with open_store(self.scene.state) as store:
            self.counts.caught_under_way += sum(record.sent is not None for record in store.all())
        self.take_requests()
        if chance.random() < 0.4:
            before = self.counts.edits
            self.edit(8)
            self.counts.edits_while_dead += self.counts.edits - before

    def take_requests(self) -> None:
        """Take the sandbox's record over while nobody sends, for it keeps only the last 50,000 requests."""
        before = -1
        while (total := self.scene.sandbox.control("GET", "requests?method=NONE")["total"]) != before:
            before = total
            time.sleep(0.02)  # two equal looks so far apart mean that nobody sends any more
        self.requests += self.scene.sandbox.requests()
        self.scene.sandbox.control("DELETE", "requests")

    def finish(self) -> None:
        """Let a last daemon live, without further faults, until all is well, and end it as an operator does."""
        self.scene.sandbox.control("POST", "settings", {"fault_rate": 0})
        with self.scene.daemon(*self._options) as daemon:
            eventually(lambda: not self._unsettled(), lambda: f"{self._unsettled()[:5]}\n{daemon.said()}")
            daemon.process.terminate()
            if daemon.ended() != 0:
                self.counts.wrong.append(f"the last daemon exited {daemon.process.returncode}")
        self.take_requests()
        done = self.scene.run("plan", *self.scene.options("--detailed-exitcode"), str(self.scene.documents))
        if done.returncode != 0:
            said = done.stdout[-1000:] + done.stderr[-1000:]
            self.counts.wrong.append(f"a plan afterwards exits {done.returncode}: {said}")
        self.take_requests()

    def _unsettled(self) -> list[str]:
        """Return which recordings our own record does not show as their document wants them."""
        with open_store(self.scene.state) as store:
            records = {record.key.recording_id: record for record in store.all()}
        found = []
        for subject, status in self.wanted.items():
            record = records.get(subject.recording)
            if record is None or record.phase is not Phase.APPLIED or record.last_applied != status:
                found.append(f"{subject.name} wants {status}: {record}")
        return found

    def judge(self) -> Counts:
        """Hold what the sandbox saw, and what it shows now, against the promises."""
        live = self.scene.sandbox.state()
        wrong = self.counts.wrong
        for subject, status in self.wanted.items():
            found = live[subject.recording]["status"]
            if found != status and not (status == "completed" and found == "available"):
                wrong.append(f"{subject.name} is {found}, its document wants {status}")
        with open_store(self.scene.state) as store:
            known = store.count_last_applied()
            if known != len(self.subjects):
                wrong.append(f"{known} of {len(self.subjects)} recordings have a last-applied status")
            history = store.history(limit=10_000_000)
        told = Counter(event.key.recording_id for event in history if event.event == "patch_sent")
        refused = [event for event in history if event.event in ("limit_refused", "rejected", "drift_detected")]
        wrong += [f"{event.event} of {event.name}: {event.detail} {event.cause}" for event in refused[:10]]
        sent = self._judge_patches(self.requests)
        for subject in self.subjects:
            statuses = sent.get(subject.recording, [])
            if len(statuses) > told[subject.recording]:
                wrong.append(f"{subject.name}: {len(statuses)} PATCHes, {told[subject.recording]} in the history")
            if not _in_order(statuses, self.versions[subject]):
                wrong.append(f"{subject.name}: sent {statuses} for the edits {self.versions[subject]}")
        refused_updates = self.scene.sandbox.control("GET", "requests?method=NONE")["callUpdatesRefused"]
        if refused_updates:
            wrong.append(f"{refused_updates} PATCHes on calls")
        self.counts.completed = len(self._ended)
        return self.counts

    def _judge_patches(self, requests: Iterable[Seen]) -> dict[str, list[str]]:
        """Return what was sent to each recording, without repetitions, having judged those."""
        sent: dict[str, list[str]] = defaultdict(list)
        last: dict[str, Seen] = {}
        looks: dict[str, list[float]] = defaultdict(list)
        for request in requests:
            call, recording = request.ids
            self.counts.faults += request.fault is not None
            if request.method != "PATCH":
                self.counts.reads += 1
                if request.fault is None:
                    looks[call].append(request.at)
                continue
            self.counts.patches += 1
            before = last.get(recording)
            last[recording] = request
            if before is None or before.asked != request.asked:
                sent[recording].append(request.asked or "")
                continue
            between = [at for at in looks[call] if before.at < at < request.at]
            # Time to spare on both sides: what was asked within it may have been answered either way.
            effect_at = before.at + SETTLE_MS / 1000 + 0.05
            shown = before.fault not in WITHOUT_EFFECT and any(at > effect_at for at in between)
            self.counts.repeated_after_a_read += 1
            if not between or shown:
                what = "with no read between" if not between else "though a read between shows its effect"
                apart = f"{request.at - before.at:.3f} s apart"
                self.counts.wrong.append(f"{recording}: {request.asked} sent twice {what}, {apart}")
        return sent


def _in_order(statuses: Sequence[str], versions: Sequence[str]) -> bool:
    """Whether what was sent follows the edits: some may have been passed over, none may come after a newer one."""
    left = iter(versions)
    return all(status in left for status in statuses)


def campaign(folder: Path, *, kills: int, recordings: int, seed: int, fault_rate: float = 0.0) -> Counts:
    """Run a campaign in an empty folder, and return what happened."""
    started = time.monotonic()
    with Scene(folder, settle_ms=SETTLE_MS) as scene:
        running = Campaign(scene, recordings=recordings, fault_rate=fault_rate, seed=seed)
        running.set_up()
        for _ in range(kills):
            running.life()
        running.finish()
        counts = running.judge()
    counts.seconds = round(time.monotonic() - started, 1)
    return counts


def main() -> int:
    """Run a campaign by hand and print its counts; the exit code is 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--recordings", type=int, default=500)
    parser.add_argument(
        "--fault-rate", type=float, default=0.0, help="share of requests that fail, with or without effect"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="kept afterwards; else one that is removed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        counts = campaign(
            options.folder or Path(temporary),
            kills=options.kills,
            recordings=options.recordings,
            seed=options.seed,
            fault_rate=options.fault_rate,
        )
    print(counts)
    return 1 if counts.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
