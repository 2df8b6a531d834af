"""Write the pages of `docs/reference/` that follow from the code: commands, settings, exit codes, metrics, log events.

`make docs` runs it, and a test compares what it gives with the pages as they are. It is no part of the package. What
must never happen here: a word about the program that the program would not bear out. So everything that the code can
say is taken from there, and what it cannot say (the meaning of a log event) is held against the events that it has.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
from prometheus_client.parser import text_string_to_metric_families

from reconciler.cli import exits
from reconciler.cli.options import COMMON
from reconciler.cli.program import cli
from reconciler.model.work import Priority
from reconciler.settings.schema import settings_schema
from reconciler.settings.sections import SECTIONS
from reconciler.settings.setting import Setting
from reconciler.settings.table import COMMAND_OPTIONS, SETTINGS
from reconciler.telemetry.metrics import ApiState, Metrics, SourceFigures

CHECKOUT: Final = Path(__file__).parents[1]
PACKAGE: Final = CHECKOUT / "reconciler"
REFERENCE: Final = CHECKOUT / "docs" / "reference"
SETTINGS_SCHEMA: Final = CHECKOUT / "schemas" / "settings.schema.json"
_MARK: Final = "<!-- Written by docs/generate.py: change what it says in the code, then `make docs`. -->\n\n"

#: Where each command is shown in use: the title and the page.
USES: Final = {
    "validate": ("check documents", "../how-to/check.md"),
    "plan": ("see what would change", "../how-to/plan.md"),
    "apply": ("bring it about once", "../how-to/apply.md"),
    "run": ("run the daemon", "../how-to/run.md"),
    "status": ("see how recordings stand", "../how-to/status.md"),
    "history": ("prove that a recording was paused", "../how-to/prove.md"),
    "approve": ("lift a limit once", "../how-to/lift-a-limit.md"),
    "sync": ("act in a hurry", "../how-to/act-now.md#have-the-daemon-look-now-sync"),
    "state backup": ("back up the state", "../how-to/backup.md"),
    "state check": ("check the state", "../how-to/backup.md"),
    "schema": ("documents in an editor", "../how-to/editors.md#where-is-the-schema-of-a-kind"),
    "init": ("first documents", "../how-to/first-documents.md#from-a-sample-init"),
    "import": ("first documents", "../how-to/first-documents.md#from-what-is-live-import"),
    "set": ("act in a hurry", "../how-to/act-now.md#one-status-set"),
    "suspend": ("act in a hurry", "../how-to/act-now.md#leave-one-recording-alone-suspend"),
    "resume": ("act in a hurry", "../how-to/act-now.md#look-after-it-again-resume"),
    "doctor": ("is everything here?", "../how-to/doctor.md"),
    "sandbox": ("the sandbox", "sandbox.md"),
}

#: What the settings page says of a file that was merely found.
_FOUND: Final[dict[str, str]] = {
    "refused": "no",
    "any": "yes",
    "lower": "at or below the default",
    "lower but not to 0": "at or below the default, not 0",
}

#: What each event of the log says, by its word.
EVENTS: Final = {
    "patch_sent": "the intent is on disk, the PATCH leaves",
    "patch_accepted": "the API answered 202",
    "applied": "a read has shown the status",
    "unconfirmed": "the deadline passed without it",
    "rejected": "the API refused, and a read did not show the wanted status",
    "drift_detected": "live has moved away from what was applied",
    "waiting": "it cannot be changed yet, or is not found (`reason`)",
    "not_found": "it has not been found for as long as a call may live",
    "moved": "it is on another call now",
    "ended": (
        "the recording ended otherwise than desired: information, and a warning where its desired status was never seen"
    ),
    "suspended": "the document is suspended",
    "released": "the document is gone, the record is closed",
    "retry_scheduled": "something failed and is tried again",
    "throttled": "the API answered 429",
    "unauthorized": "a workspace refused the key",
    "authorized_again": "it takes it again",
    "unread": "`run --once` could not read a call, and leaves its recordings out",
    "api_notice": "the API announces its end with a `Deprecation` or `Sunset` header: once each",
    "circuit_opened": (
        "requests to a workspace fail one after the other: it is left alone for a while, or sent no PATCH (`requests`)"
    ),
    "circuit_closed": "it answers again",
    "clock_stepped": "the clock of this machine was set, or the machine slept; by how many `seconds`",
    "limit_refused": "a safety limit holds something back: once for all of it, with its name (`refusal`)",
    "approved": "somebody approved what was refused",
    "limits_overridden": "no limit holds for what the daemon found at its start",
    "limits_in_force": "all of that has come to its end",
    "request_answered": "what another command asked for was done, or refused",
    "request_failed": "it could not be done for a reason that is a fault of this program",
    "requests_unreadable": "the state cannot be read for what is asked",
    "requests_readable_again": "it can be again",
    "document_invalid": "a file's newest content is not in force, and why",
    "document_valid_again": "it is",
    "source_unreadable": (
        "the system cannot read documents now (too few descriptors, too little memory, a disk that fails): "
        "what they declared stays in force, and they are tried again every second"
    ),
    "source_readable": "it can again",
    "source_vanished": "a given path is missing",
    "source_back": "it is back",
    "source_warning": "something was skipped, or cannot be watched",
    "source_revision": "a commit of the Git branch is in force",
    "source_rewritten": "the branch was rewritten: the last commit is none of the new one's ancestors",
    "source_unreachable": "the branch cannot be fetched or judged; what was in force stays so",
    "source_reachable_again": "it can",
    "source_mirror_renewed": "the mirror could not be read and was made anew",
    "revision_refused": "a commit changes nothing for want of a good signature: whose, which, why",
    "revision_unsigned": "under `verify: warn`, one that would be refused",
    "hook_taken": "a Git host said that the branch moved",
    "hook_refused": "a delivery was not taken, and why",
    "cache_exposed": "others may write the folder that `cache_dir` names, and so replace the index and the mirror",
    "state_exposed": "others may write the folder of the state, and so replace it: said at the start, and by `doctor`",
    "state_unwritable": "the state cannot be written; nothing is sent without it",
    "state_writable_again": "it can",
    "state_unreadable": "the state cannot be read",
    "state_readable_again": "it can",
    "library_warning": (
        "what a library below this program had to say; said again within a minute, only how often (`again`)"
    ),
    "log_dropped": "so many lines of the log found no reader in time",
    "turn_failed": "a fault of the program; that recording is tried again",
    "started": "the daemon works",
    "listening": "where its page is",
    "listen_waiting": "somebody else listens there; a standby takes the address when it is free",
    "page_failed": "the page has ended, and the work goes on without it",
    "standby": "another writer holds the state, and who; this daemon waits for it",
    "taken_over": "the state is this daemon's now",
    "resync_done": "every recording has been looked at, and each look was answered",
    "stopping": "a signal came",
}


def pages() -> dict[Path, str]:
    """Return the text of every generated page, and of the schema of a settings file, by its path."""
    return {
        SETTINGS_SCHEMA: json.dumps(settings_schema(), indent=2) + "\n",
        **{
            REFERENCE / f"{name}.md": _MARK + text.strip() + "\n"
            for name, text in (
                ("commands", _commands()),
                ("settings", _settings()),
                ("exit-codes", _exit_codes()),
                ("metrics", _metrics()),
                ("log-events", _log_events()),
            )
        },
    }


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; a bar within a cell is escaped, and a cell is one line."""
    cells = [[re.sub(r"(?<!\\)\|", r"\|", " ".join(cell.split())) for cell in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in (heading, *cells)).replace(
        "|\n", "|\n|" + "---|" * len(heading) + "\n", 1
    )


def _commands() -> str:
    common = {"--config", *(setting.option for setting in COMMON)}
    head = (
        "# Commands\n\n"
        "*Reference, for whoever types or scripts them: usage, arguments, options. How each is used stands on the page"
        " that its section names.*\n\n"
        "`PATH...` are files or folders, by default `desired_state`. Data goes to standard output, everything else to"
        " standard error. Colour appears on a terminal only and honours `NO_COLOR` (`FORCE_COLOR` asks for it"
        " elsewhere). How a command ends: [exit codes](exit-codes.md).\n\n"
        f"Every command takes {_listed(sorted(common))}. These, and what a section calls its settings, are explained"
        " under [Settings](settings.md).\n"
    )
    sections = list(_leaves(cli, click.Context(cli, info_name="reconciler")))
    if unknown := {context.command_path for _, context in sections} ^ {f"reconciler {name}" for name in USES}:
        raise SystemExit(f"docs/generate.py: USES and the commands differ in {sorted(unknown)}")
    return "\n".join([head, *(_command(command, context, common) for command, context in sections)])


def _leaves(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """Yield the commands that are no groups, in the order of the help."""
    if not isinstance(command, click.Group):
        yield command, context
        return
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        if below is not None:
            yield from _leaves(below, click.Context(below, info_name=name, parent=context))


def _command(command: click.Command, context: click.Context, common: set[str]) -> str:
    own, settings = [], []
    for option in command.params:
        if not isinstance(option, click.Option) or option.opts[0] in common:
            continue
        if option.name in SETTINGS and option.opts[0] == SETTINGS[option.name].option:
            settings.append(option.opts[0])
        else:
            own.append(_option(option, context))
    help_text = re.sub(r"\n\s+", "\n", command.help or "").strip()
    title, page = USES[context.command_path.removeprefix("reconciler ")]
    text = f"## {context.command_path}\n\n{_without_breaks(help_text)}\n\nIn use: [{title}]({page}).\n\n"
    text += f"```text\n{context.command_path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    if own:
        text += "\n" + _table(("option", "default", "meaning"), own)
    if settings:
        text += f"\nSettings: {_listed(settings)}.\n"
    return text


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    """Return the row of an option that is no setting."""
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if not option.is_flag:
        names = names.removesuffix("`") + f" {option.make_metavar(context)}`"
    default = option.to_info_dict()["default"]
    if option.required:
        shown = "required"
    elif option.is_flag or default in (None, "", ()):
        shown = ""
    else:
        shown = f"`{default[0] if isinstance(default, tuple) else _number(default)}`"
    return names, shown, (option.help or "") + (" Repeatable." if _says_not(option) else "")


def _says_not(option: click.Option) -> bool:
    """Return whether an option may be given again and its help is silent about it."""
    return option.multiple and "repeatable" not in (option.help or "").lower()


def _settings() -> str:
    tables = [
        f"## {(section.__doc__ or '').splitlines()[0].rstrip('.')}\n\n"
        + _table(
            ("in the file, option, variable", "default", "values", "in a found file", "meaning"),
            [_setting(setting) for setting in section.settings],
        )
        for section in SECTIONS
    ]
    singles = [(f"`{name}`", _FOUND[option.found]) for name, option in COMMAND_OPTIONS.items()]
    return (
        "# Settings\n\n"
        "*Reference, for whoever operates the program. How they are said, which way beats which, and what a file that"
        " is merely found may say: [How do I say a setting?](../how-to/configure.md)*\n\n"
        + "\n".join(tables)
        + "\nBesides, `workspaces` names [the key of each workspace](../tutorial/real-key.md#where-does-the-key-stand);"
        " a found file may not.\n\n"
        "## Options of single commands\n\n"
        "They can stand in a settings file and in a variable as well; [Commands](commands.md) explains them.\n\n"
        + _table(("in the file", "in a found file"), singles)
    )


def _setting(setting: Setting[Any]) -> tuple[str, ...]:
    names = f"`{setting.name}` `{setting.option}` `{setting.variable}`"
    default = f"`{_number(setting.default)}`" if setting.default != "" else "none"
    return names, default, _values(setting), _FOUND[setting.found], setting.help


def _values(setting: Setting[Any]) -> str:
    """Return what a setting may be: words, or a kind with its bounds and its unit."""
    if setting.kind == "choice":
        return _listed(setting.choices)
    if setting.kind == "flag":
        return "`true`, `false`"
    if setting.kind == "text":
        return "text"
    kind = "whole number" if setting.kind == "whole" else "number"
    unit = f" of {setting.unit}" if setting.unit else ""
    least = "" if setting.minimum is None else f", {setting.minimum:g}"
    most = " or more" if setting.maximum is None else f" to {setting.maximum:,.0f}"
    return kind + unit + (least + most if least else "")


def _exit_codes() -> str:
    source = Path(exits.__file__).read_text()
    rows = re.findall(r"^#: (.+)\n(\w+): Final = (\d+)$", source, re.MULTILINE)
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    if codes != {int(code) for _, _, code in rows}:
        raise SystemExit("docs/generate.py: an exit code has no comment `#: ...` above it")
    return (
        "# Exit codes\n\n"
        "*Reference, for whoever scripts a command.*\n\n"
        + _table(("code", "meaning"), [(code, meaning) for meaning, _, code in rows])
        + "\nWhere several hold, what needs a person most comes first: 130, 7, 4, 5, 3.\n"
    )


def _metrics() -> str:
    only = {
        "reconciler_resync_age_seconds": "",
        "reconciler_source_revision_info": "With `--git`.",
        "reconciler_source_fetch_age_seconds": "With `--git`.",
        "reconciler_source_refused": "With `--git`.",
    }
    rows = []
    for family in text_string_to_metric_families(_page_of_metrics()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        note = f" {only[name]}" if only.get(name) else ""
        rows.append((f"`{name}`", family.type, _listed(sorted(labels)), family.documentation + note))
    return (
        "# Metrics\n\n"
        "*Reference, for whoever scrapes the daemon. What is worth an alert: [Alerts](../how-to/alerts.md). Who may"
        " read them: [The daemon's page](http.md#who-may-read-it).*\n\n"
        "`/metrics` in Prometheus form. No label holds an ID or a name of a recording, a call or a file.\n\n"
        + _table(("metric", "type", "labels", "meaning"), rows)
    )


def _page_of_metrics() -> str:
    """Return the page of a daemon in which all has happened once, so that each metric shows its labels."""
    metrics = Metrics("0")
    metrics.limit_refusals.labels("rule")
    metrics.requested("GET", "route", "200", 0.0)
    metrics.watch_queue(lambda: dict.fromkeys(Priority, (0, 0.0)))
    metrics.watch_resync(lambda: 0.0)
    metrics.watch_api(lambda: ApiState(0.0, 0, 0))
    metrics.watch_source(lambda: SourceFigures("0", 0.0, refused=False))
    return metrics.render().decode()


def _log_events() -> str:
    written = set(logged_events())
    if unknown := written ^ EVENTS.keys():
        raise SystemExit(f"docs/generate.py: EVENTS and the events in the code differ in {sorted(unknown)}")
    return (
        "# Log events\n\n"
        "*Reference, for whoever reads or searches the log.*\n\n"
        "On standard error; `log_format: auto` is text on a terminal and JSON elsewhere, one object a line with"
        " `timestamp`, `level`, `event` and `run_id`. Events about a recording have `name` and `recording_id`.\n\n"
        "What may meet very many at once (`circuit_opened`, `circuit_closed`, `retry_scheduled`, `throttled`, `unread`,"
        " `unauthorized`, `authorized_again`) is told in full four times; what follows within a minute is counted, and"
        " told in one line of that word with `more`. A PATCH, its effect, drift and a PATCH that may have got lost"
        " always have a line of their own, and every failed PATCH stands in the history.\n\n"
        + _table(("event", "meaning"), [(f"`{word}`", meaning) for word, meaning in EVENTS.items()])
    )


def logged_events() -> Iterator[str]:
    """Yield the events of the log that the code writes: constant words, or one of the words chosen between."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "sandbox" in path.parts:
            continue
        module = ast.parse(path.read_bytes())
        tables = {
            name: [word for each in value.values for word in _constants(each)]
            for name, value in _assigned(module.body)
            if isinstance(value, ast.Dict)
        }
        for function in ast.walk(module):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _events_in(function, tables, path)


def _events_in(
    function: ast.FunctionDef | ast.AsyncFunctionDef, tables: dict[str, list[str]], path: Path
) -> Iterator[str]:
    """Yield the words that one function logs; those of a choice are in its `if`, or in a table of the module's."""
    chosen: dict[str, list[str]] = {}
    for name, value in _assigned(ast.walk(function)):
        if isinstance(value, ast.IfExp):
            chosen[name] = _constants(value)
        elif isinstance(value, ast.Call) and (table := ast.unparse(value.func).removesuffix(".get")) in tables:
            chosen[name] = [*tables[table], *_constants(value)]
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call) and node.args):
        name = ast.unparse(call.func)
        if name == "Alarm":
            yield from (str(word.value) for word in call.args if isinstance(word, ast.Constant))
        elif re.fullmatch(r"(\w+\.)*_?(log(\.(debug|info|warning|error))?|sparing\.say)", name):
            event = call.args[name.endswith(".say")]
            if isinstance(event, ast.Constant):
                yield str(event.value)
            elif isinstance(event, ast.Name) and event.id in chosen:
                yield from chosen[event.id]
            elif path.stem != "alarm":  # which says the words that it is given
                raise SystemExit(f"{path}:{call.lineno}: an event that is no constant word")


def _assigned(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Yield each name that is given a value, and the value."""
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id, node.value


def _constants(value: ast.expr) -> list[str]:
    return [str(each.value) for each in ast.walk(value) if isinstance(each, ast.Constant)]


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _number(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_breaks(text: str) -> str:
    """Return a help text with each of its paragraphs on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def main() -> None:
    """Write every page."""
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
