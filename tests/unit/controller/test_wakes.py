"""The bus through which is heard what wakes recordings: who tells need not know who hears, nor be made after them."""

from __future__ import annotations

from reconciler.controller.wakes import Wakes
from reconciler.providers.gate.circuit import CircuitChange


def test_news_reaches_everybody_who_listens_in_the_order_in_which_they_came() -> None:
    wakes, heard = Wakes(), list[tuple[str, object]]()
    tell = wakes.circuit_changed  # handed to the gate before anybody listens
    wakes.circuit_changed.listen(lambda news: heard.append(("log", news)))
    wakes.circuit_changed.listen(lambda news: heard.append(("daemon", news)))
    change = CircuitChange("workspace", "all", opened=True)
    tell(change)
    assert heard == [("log", change), ("daemon", change)]


def test_one_kind_of_news_is_not_heard_by_those_who_listen_to_another() -> None:
    wakes, heard = Wakes(), list[str]()
    wakes.key_taken.listen(heard.append)
    wakes.on_everything(lambda: heard.append("everything"))
    wakes.circuit_changed(CircuitChange("workspace", "all", opened=False))
    assert heard == []
    wakes.look_at_everything()
    wakes.key_taken("workspace")
    assert heard == ["everything", "workspace"]


def test_news_that_nobody_listens_to_is_no_error() -> None:
    wakes = Wakes()
    wakes.look_at_everything()
    wakes.key_taken("workspace")
