"""What a setting is: name, type, default, bounds, unit, help, and who may set it; and what a section of settings is.

A section is a class. Asked of the class, one of its attributes is the setting, with all that is known about it; asked
of an instance, the same attribute is the value that holds in this invocation, and the type checker knows its type. So a
setting is written down once, and nobody names one by a text.

What must never happen here: a value that changes while a command runs; a setting that a file which nobody named may set
because nobody thought of it. So each setting says whether it may, and says no unless it is told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, Literal, Never, NoReturn, TypeVar, cast, overload

T = TypeVar("T")

ENVIRONMENT_PREFIX: Final = "RECONCILER_"

Kind = Literal["text", "whole", "number", "choice", "flag"]
#: What a settings file that was found in the working directory may do to a setting: nothing; say any value, since none
#: redirects anything or sends more; lower it, to the default at most; or lower it, but not to 0, which lifts the bound.
Found = Literal["refused", "any", "lower", "lower but not to 0"]
Unit = Literal["", "seconds", "bytes", "days", "percent", "requests per second"]


@dataclass(frozen=True, slots=True, eq=False)
class Setting(Generic[T]):
    """One setting. Its option is `--<name with dashes>`, its variable `RECONCILER_<NAME>`.

    Made by `text`, `whole`, `number`, `choice` and `flag`, in the class of a section, which gives it its name.
    """

    kind: Kind
    default: T
    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    unit: Unit = ""
    found: Found = "refused"
    #: Whether it names a file that holds a secret; the secret itself is never a setting.
    names_secret: bool = False
    name: str = ""

    def __set_name__(self, section: type[Section], name: str) -> None:
        object.__setattr__(self, "name", name)

    @overload
    def __get__(self, section: None, of: type[Section]) -> Setting[T]: ...
    @overload
    def __get__(self, section: Section, of: type[Section]) -> T: ...
    def __get__(self, section: Section | None, of: type[Section]) -> Setting[T] | T:
        return self if section is None else cast("T", section.value_of(self))

    def __set__(self, section: Section, value: Never) -> NoReturn:
        raise AttributeError(f"{self.name} holds for as long as a command runs: settings do not change")

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()


class Section:
    """Settings that belong together, with the values that they have in one invocation.

    Raises:
        LookupError: a command asks for a setting for which it has no option, so that nobody could have set it.
    """

    __slots__ = ("_values",)
    _values: Mapping[str, object]

    #: The settings of the section, in the order in which they are written.
    settings: ClassVar[tuple[Setting[Any], ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.settings = tuple(each for each in vars(cls).values() if isinstance(each, Setting))

    def __init__(self, values: Mapping[str, object]) -> None:
        """Take the values of this invocation, by the settings' names; those of other sections may be among them."""
        object.__setattr__(self, "_values", values)

    def __setattr__(self, name: str, value: Never) -> NoReturn:
        raise AttributeError(f"{name}: settings do not change")

    def __repr__(self) -> str:
        known = (each.name for each in self.settings if each.name in self._values)
        return f"{type(self).__name__}({', '.join(f'{name}={self._values[name]!r}' for name in known)})"

    def value_of(self, setting: Setting[Any]) -> object:
        """Return the value of one of the section's settings."""
        try:
            return self._values[setting.name]
        except KeyError:
            raise LookupError(f"{setting.name} is asked for by a command that has no option {setting.option}") from None


def text(default: str, about: str, *, names_secret: bool = False) -> Setting[str]:
    """Return a setting that is a text."""
    return Setting("text", default, about, names_secret=names_secret)


def whole(
    default: int,
    about: str,
    *,
    minimum: int,
    maximum: int | None = None,
    unit: Unit = "",
    found: Found = "refused",
) -> Setting[int]:
    """Return a setting that is a whole number, within bounds that are themselves allowed."""
    return Setting("whole", default, about, minimum=minimum, maximum=maximum, unit=unit, found=found)


def number(
    default: float,
    about: str,
    *,
    minimum: float,
    maximum: float | None = None,
    unit: Unit,
    found: Found = "refused",
) -> Setting[float]:
    """Return a setting that is a finite number, within bounds that are themselves allowed."""
    return Setting("number", default, about, minimum=minimum, maximum=maximum, unit=unit, found=found)


def choice(default: T, about: str, choices: tuple[T, ...], *, found: Found = "refused") -> Setting[T]:
    """Return a setting that is one of some words."""
    return Setting("choice", default, about, cast("tuple[str, ...]", choices), found=found)


def flag(about: str, *, found: Found = "refused") -> Setting[bool]:
    """Return a setting that is off unless somebody says otherwise."""
    return Setting(kind="flag", default=False, help=about, found=found)
