"""The JSON Schemas of the documents: one gate that decides, one explainer that says why not.

The gate (jsonschema-rs) takes about a microsecond for a document and knows only yes and no; the explainer (jsonschema)
is some hundred times slower, gives every independent mistake as data, and is imported only once there is one. A
property test holds the two to the same verdict. Neither library is imported before the first document needs it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

from reconciler.desired.documents.convert import is_date_time
from reconciler.desired.documents.wording import nearest
from reconciler.desired.shipped import read_schema
from reconciler.model import SettingsError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

CALL_RECORDING: Final = "CallRecording"
CALL_RECORDING_SET: Final = "CallRecordingSet"
#: The kinds that a document may have.
KINDS: Final = (CALL_RECORDING, CALL_RECORDING_SET)
#: The name under which the schema of any document, whatever its kind, is kept here.
ANY_KIND: Final = "any"
#: The name under which the schema of one item of a set is kept here.
ITEM: Final = "item"

_FILES: Final = {
    ANY_KIND: "desired-state.schema.json",
    CALL_RECORDING: "call-recording.schema.json",
    CALL_RECORDING_SET: "call-recording-set.schema.json",
    "Plan": "plan.schema.json",
    "Daemon": "daemon.schema.json",
    "Status": "status.schema.json",
    "History": "history.schema.json",
    "Settings": "settings.schema.json",
}
#: The forms that commands write, and that of a settings file.
_OTHERS: Final = ("Plan", "Daemon", "Status", "History", "Settings")


#: Any value that JSON can express. The libraries each have a type for it, and no two agree.
Json: TypeAlias = Any


class Mistake(NamedTuple):
    """One independent reason for a refusal."""

    path: tuple[str | int, ...]
    #: The schema keyword that refuses, such as `enum`, and the value it has.
    keyword: str
    allowed: Any
    #: The schema in which the keyword stands.
    schema: Mapping[str, Any]
    #: The refused value.
    value: Any


def schema_text(kind: str | None = None) -> str:
    """Return a JSON Schema as shipped.

    Args:
        kind: `CallRecording`, `CallRecordingSet`, `Plan`, `Daemon`, `Status`, `History`, `Settings`, or None for
            documents of any kind.

    Raises:
        SettingsError: no schema has that name.
    """
    if kind is None:
        return read_schema(_FILES[ANY_KIND])
    names = (*KINDS, *_OTHERS)
    if kind not in names:
        near = nearest(kind, names)
        hint = f"did you mean `{near}`?" if near else f"there are {', '.join(names)}"
        raise SettingsError(f"there is no schema {kind!r}, {hint}")
    return read_schema(_FILES[kind])


@functools.cache
def gate(name: str) -> Callable[[object], bool]:
    """Return the function that says whether a value fits one of the schemas here, by `KINDS`, `ANY_KIND` or `ITEM`."""
    import jsonschema_rs

    is_valid = jsonschema_rs.Draft202012Validator(
        _schema(name), validate_formats=True, formats={"date-time": is_date_time}
    ).is_valid

    def fits(value: object) -> bool:
        try:
            return is_valid(value)
        except ValueError:
            return False  # what JSON cannot express, such as half a surrogate pair, fits no schema

    return fits


def mistakes(name: str, value: Json) -> Iterator[Mistake]:
    """Yield every independent reason for which a value does not fit, none when it fits."""
    items = _items(value) if name == CALL_RECORDING_SET else None
    if items is None:
        yield from _mistakes(name, value, ())
        return
    # A set may have a hundred thousand items: the gate finds the few that the slow explainer has to look at.
    document = cast("dict[str, Any]", value)
    yield from _mistakes(name, {**document, "spec": {**document["spec"], "recordings": []}}, ())
    fits = gate(ITEM)
    for index, item in enumerate(items):
        if not fits(item):
            yield from _mistakes(ITEM, item, ("spec", "recordings", index))


def would_fit(schema: Mapping[str, Any], text: str) -> bool:
    """Say whether a text would have been accepted where another value was refused."""
    return _explainer(ANY_KIND).evolve(schema=schema).is_valid(text)


def _items(value: object) -> list[object] | None:
    """Return the list of a set's items, where it is one."""
    spec = value.get("spec") if isinstance(value, dict) else None
    items = spec.get("recordings") if isinstance(spec, dict) else None
    return items if isinstance(items, list) else None


def _mistakes(name: str, value: Json, prefix: tuple[str | int, ...]) -> Iterator[Mistake]:
    for error in _explainer(name).iter_errors(value):
        path = (*prefix, *error.absolute_path)
        schema = cast("Mapping[str, Any]", error.schema)  # never a bare `false` in the schemas here
        yield Mistake(path, str(error.validator), error.validator_value, schema, error.instance)


@functools.cache
def _schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(read_schema(_FILES[CALL_RECORDING_SET if name == ITEM else name]))
    if name == ITEM:
        return {"$schema": schema["$schema"], "$ref": "#/$defs/item", "$defs": schema["$defs"]}
    return schema


@functools.cache
def _explainer(name: str) -> Validator:
    import jsonschema
    from jsonschema import validators

    formats = jsonschema.FormatChecker(formats=())
    formats.checks("date-time")(lambda value: not isinstance(value, str) or is_date_time(value))
    extend: Any = validators.extend  # has no types
    explainer: Validator = extend(
        jsonschema.Draft202012Validator, {"pattern": _pattern, "additionalProperties": _additional}
    )(_schema(name), format_checker=formats)
    return explainer


def _additional(
    validator: Any,  # noqa: ANN401 - jsonschema's classes are made at run time
    allowed: object,
    value: object,
    schema: Mapping[str, Any],
) -> Iterator[Any]:
    """Check `additionalProperties` without naming all of them in a message, which may be two million."""
    from jsonschema import ValidationError

    if not isinstance(value, dict):
        return
    known = schema.get("properties", {})
    others = (key for key in value if key not in known)
    if isinstance(allowed, dict):
        for key in others:
            yield from validator.descend(value[key], allowed, path=key)
    elif next(others, None) is not None:
        yield ValidationError("has other fields")


def _pattern(_validator: object, pattern: str, value: object, _schema: object) -> Iterator[Any]:
    r"""Check `pattern` as JSON Schema means it: unlike Python's, its `$` does not match before a last line break."""
    from jsonschema import ValidationError

    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield ValidationError("does not match")
