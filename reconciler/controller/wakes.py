"""The bus through which is heard what wakes recordings: it is made first, and handed to all who tell and all who hear.

The gate tells of circuits, the refused keys of one that is taken again, and a signal, a request or a page of a wish to
look at everything. What must never happen here: anything but a call, or a word about one recording.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from reconciler.providers import CircuitChange

T = TypeVar("T")


class Wake(Generic[T]):
    """One kind of news. It is told by calling this."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[T], object]] = []

    def listen(self, listener: Callable[[T], object]) -> None:
        """Tell this one as well, after those that came before it."""
        self._listeners.append(listener)

    def __call__(self, news: T) -> None:
        for listener in self._listeners:
            listener(news)


class Wakes:
    """All that wakes many recordings at once."""

    def __init__(self) -> None:
        #: The requests to a workspace fail one after the other, or are answered again.
        self.circuit_changed: Wake[CircuitChange] = Wake()
        #: The ID of a workspace that takes its access key again.
        self.key_taken: Wake[str] = Wake()
        self._everything: Wake[None] = Wake()

    def on_everything(self, listener: Callable[[], object]) -> None:
        """Tell this one when somebody wishes that everything is looked at now."""
        self._everything.listen(lambda _: listener())

    def look_at_everything(self) -> None:
        """Have everything looked at now."""
        self._everything(None)
