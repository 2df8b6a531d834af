"""What the program says of itself: logs, metrics, alarms, and the scrubbing of what others wrote.

What must never happen here: a line, a label or a text that holds an access key, a phone number or a signed link; a
reader of the log who makes the program wait.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.telemetry.alarm import Alarm as Alarm
    from reconciler.telemetry.alarm import Sparing as Sparing
    from reconciler.telemetry.logs import Log as Log
    from reconciler.telemetry.logs import Secrets as Secrets
    from reconciler.telemetry.logs import adopt_libraries as adopt_libraries
    from reconciler.telemetry.logs import make_log as make_log
    from reconciler.telemetry.metrics import CONTENT_TYPE as CONTENT_TYPE
    from reconciler.telemetry.metrics import ApiState as ApiState
    from reconciler.telemetry.metrics import Metrics as Metrics
    from reconciler.telemetry.metrics import SourceFigures as SourceFigures
    from reconciler.telemetry.metrics import Standing as Standing
    from reconciler.telemetry.outlet import Outlet as Outlet
    from reconciler.telemetry.scrubbing import frames as frames
    from reconciler.telemetry.scrubbing import hide as hide
    from reconciler.telemetry.scrubbing import scrub as scrub
    from reconciler.telemetry.scrubbing import scrubbed as scrubbed
    from reconciler.telemetry.scrubbing import visible as visible
    from reconciler.telemetry.scrubbing import visible_lines as visible_lines
else:
    __getattr__ = face(
        __name__,
        {
            "alarm": (
                "Alarm",
                "Sparing",
            ),
            "logs": (
                "Log",
                "Secrets",
                "adopt_libraries",
                "make_log",
            ),
            "metrics": (
                "ApiState",
                "CONTENT_TYPE",
                "Metrics",
                "SourceFigures",
                "Standing",
            ),
            "outlet": ("Outlet",),
            "scrubbing": (
                "frames",
                "hide",
                "scrub",
                "scrubbed",
                "visible",
                "visible_lines",
            ),
        },
    )
