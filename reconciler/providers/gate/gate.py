"""The two doors that every request passes: the circuit of its workspace, and the budget.

What must never happen here: a door that is asked for one request and passed by another.
"""

from __future__ import annotations

from typing import NamedTuple

from reconciler.model import Postponed, Priority
from reconciler.providers.gate.budget import Budgets
from reconciler.providers.gate.circuit import Circuits


class Gate(NamedTuple):
    """What keeps requests back before they leave."""

    #: How many may leave, and who goes first; its width is the size of the connection pool.
    budget: Budgets
    #: Which workspaces are left alone, because requests to them fail one after the other.
    circuits: Circuits

    def postponed(self, workspace_id: str) -> Postponed | None:
        """Return why a PATCH to a workspace could not leave now, or None where it could."""
        circuit = self.circuits.postponed(workspace_id, write=True)
        return circuit or self.budget.postponed(workspace_id, Priority.WRITE)
