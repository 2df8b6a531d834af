"""The settings by their names, and the options of single commands that a settings file may hold as well.

An option, a line of `reconciler.yaml` and an environment variable are three ways to say the same setting; all are made
from `sections`, of which this is the index. This room opens nothing.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, NamedTuple

from reconciler.settings.sections import SECTIONS
from reconciler.settings.setting import Setting

DEFAULT_FILE: Final = "reconciler.yaml"
#: Under this name a command keeps which settings file it read, for its messages.
SETTINGS_PATH: Final = "reconciler.settings_path"
#: Names the settings file, as `--config` does.
CONFIG_VARIABLE: Final = "RECONCILER_CONFIG"

SETTINGS: Final[dict[str, Setting[Any]]] = {
    setting.name: setting for section in SECTIONS for setting in section.settings
}


class CommandOption(NamedTuple):
    """An option of single commands that a settings file may hold as well."""

    #: The name that the command's code gives it.
    parameter: str
    kind: Literal["text", "whole", "number", "flag"]
    #: What a settings file that was found may do to it; it has no default that could be lowered.
    found: Literal["refused", "any"] = "refused"
    #: Whether it takes a list as well.
    repeatable: bool = False


COMMAND_OPTIONS: Final = {
    "all": CommandOption("show_all", "flag", found="any"),
    "base": CommandOption("base", "text"),
    "call": CommandOption("call", "text"),
    "channel": CommandOption("channel", "text"),
    "commit": CommandOption("commit", "flag"),
    "detailed_exitcode": CommandOption("detailed_exitcode", "flag", found="any"),
    "expect_digest": CommandOption("expect_digest", "text"),
    "fault_rate": CommandOption("fault_rate", "number"),
    "format": CommandOption("output", "text", found="any"),
    "import_workspace": CommandOption("workspace", "text"),
    "latency_ms": CommandOption("latency_ms", "number"),
    "limit": CommandOption("limit", "whole", found="any"),
    "message": CommandOption("message", "text"),
    "no_refresh": CommandOption("no_refresh", "flag"),
    "once": CommandOption("once", "flag"),
    "out": CommandOption("out", "text"),
    "out_dir": CommandOption("out_dir", "text"),
    "plan": CommandOption("plan_file", "text"),
    "port": CommandOption("port", "whole"),
    "reason": CommandOption("reason", "text"),
    "refresh": CommandOption("refresh", "flag"),
    "report": CommandOption("reports", "text", repeatable=True),
    "root": CommandOption("root", "text"),
    "sandbox": CommandOption("sandbox", "flag"),
    "sandbox_rate_limit": CommandOption("sandbox_rate_limit", "whole"),
    "seed": CommandOption("seeds", "text", repeatable=True),
    "settle_ms": CommandOption("settle_ms", "number"),
    "until": CommandOption("until", "text"),
    "yes": CommandOption("yes", "flag"),
}


#: What Kubernetes sets for each Service of a namespace: https://kubernetes.io/docs/concepts/services-networking/service/
#: So a Service called `reconciler` or `reconciler-x` gives names that begin as ours do.
_LINK_NAME: Final = re.compile(r".*_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_\d+_[A-Z]+(?:_[A-Z]+)?)")
_LINK_VALUE: Final = re.compile(r"(?:tcp|udp|sctp)://.*", re.IGNORECASE)


def is_service_link(name: str, value: str) -> bool:
    """Return whether an environment variable is one that an orchestrator sets for a service, by its name and value.

    The one form of name that a setting may have as well is `..._PORT`: of such a variable the value tells.
    """
    if _LINK_NAME.fullmatch(name) is not None:
        return True
    return name.endswith("_PORT") and _LINK_VALUE.fullmatch(value) is not None
