"""What is looked at of a daemon at work: each second by its beat, and by whoever asks how it is."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.controller.health import Health
from reconciler.controller.judging import Judge
from reconciler.controller.parts import Following, Memory, Run, Waiting
from reconciler.reconcile import RefusedKeys


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts of a daemon that somebody looks at."""

    following: Following
    memory: Memory
    refused_keys: RefusedKeys
    judge: Judge
    waiting: Waiting
    health: Health
    run: Run
