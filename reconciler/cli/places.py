"""Where files are for those who read a report beside the repository, such as the page of a pull request."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from reconciler.model import Problem
from reconciler.plan import Plan


class Places:
    """Paths relative to the root of the repository, in whichever folder of it the command was started."""

    def __init__(self) -> None:
        here = Path.cwd()
        self._here = here
        self._root = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), None)
        self._known: dict[str, str] = {}

    def of(self, file: str) -> str:
        """Return the path from the root; the absolute one of a file that is outside of it, or where there is none."""
        known = self._known.get(file)
        if known is None:
            place = os.path.normpath(self._here / file)
            inside = self._root is not None and Path(place).is_relative_to(self._root)
            known = os.path.relpath(place, self._root) if inside else place if self._root is not None else file
            self._known[file] = known
        return known

    def plan(self, plan: Plan) -> Plan:
        """Return the plan with its files and paths as seen from the root."""
        actions = tuple(action._replace(file=self.of(action.file)) for action in plan.actions)
        return replace(plan, actions=actions, paths=tuple(map(self.of, plan.paths)))

    def problem(self, problem: Problem) -> Problem:
        """Return a problem with its file as seen from the root."""
        return replace(problem, file=self.of(problem.file))

    def without_what_is_gone(self, plan: Plan) -> Plan:
        """Return a plan of which the actions name no file that is not there any more."""
        gone = {file for file in {action.file for action in plan.actions} if not self._is_there(file)}
        if not gone:
            return plan
        actions = tuple(action._replace(file="") if action.file in gone else action for action in plan.actions)
        return replace(plan, actions=actions)

    def _is_there(self, file: str) -> bool:
        return os.path.lexists(os.path.join(self._root or self._here, file))
