"""The command line: parse, put the parts together, call, choose the exit code.

`program` is the group of all commands; each command is a module of `commands`, imported when it is run and not before.
Data goes to standard output, everything else to standard error.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.cli.program import main as main
    from reconciler.cli.stops import listen as listen
else:
    __getattr__ = face(
        __name__,
        {
            "program": ("main",),
            "stops": ("listen",),
        },
    )
