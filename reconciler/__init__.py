"""A GitOps controller for the status of call recordings at Bird."""

from __future__ import annotations

import sys

# Type checkers take the name for true; the module that spells it the same takes milliseconds to import, in which a
# signal would find nobody who answers it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__version__ = "0.1.0"


def face(room: str, names: Mapping[str, tuple[str, ...]]) -> Callable[[str], object]:
    """Return the `__getattr__` of a room's face: each public name is imported when somebody first asks for it.

    A command that needs one function of a room does not pay for the libraries of all its modules. Type checkers read
    the imports that stand beside it instead; a test holds the two together.

    Args:
        room: the dotted name of the package.
        names: module of the room -> the public names that it owns.
    """
    owners = {name: module for module, owned in names.items() for name in owned}

    def find(name: str) -> object:
        if name not in owners:
            message = f"module {room!r} has no attribute {name!r}"
            raise AttributeError(message, name=name)
        # By `__import__`, as an import statement does it: `-X importtime`, by which start-up is held, counts it then.
        found = getattr(__import__(f"{room}.{owners[name]}", fromlist=(name,)), name)
        setattr(sys.modules[room], name, found)
        return found

    return find
