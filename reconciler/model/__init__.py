"""Every noun of this program, and the tree of its failures.

What stands here is a value: it is valid from the moment it exists, it never changes, and it knows no file, no socket,
no clock and no other room. Nothing here computes what should be done.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.model.actions import LOST as LOST
    from reconciler.model.actions import Action as Action
    from reconciler.model.actions import ActionKind as ActionKind
    from reconciler.model.actions import Reason as Reason
    from reconciler.model.actions import Rule as Rule
    from reconciler.model.attention import ENDED_SHOWN as ENDED_SHOWN
    from reconciler.model.attention import as_seen as as_seen
    from reconciler.model.attention import is_ordinary_end as is_ordinary_end
    from reconciler.model.attention import is_past as is_past
    from reconciler.model.attention import urgency as urgency
    from reconciler.model.documents import Desired as Desired
    from reconciler.model.documents import InForce as InForce
    from reconciler.model.documents import Labels as Labels
    from reconciler.model.documents import Problem as Problem
    from reconciler.model.documents import Revision as Revision
    from reconciler.model.documents import Suspend as Suspend
    from reconciler.model.errors import BODY_CHARACTERS as BODY_CHARACTERS
    from reconciler.model.errors import CircuitOpen as CircuitOpen
    from reconciler.model.errors import CredentialRefused as CredentialRefused
    from reconciler.model.errors import DesiredStateError as DesiredStateError
    from reconciler.model.errors import LeaseLost as LeaseLost
    from reconciler.model.errors import NoRoom as NoRoom
    from reconciler.model.errors import Postponed as Postponed
    from reconciler.model.errors import ProviderError as ProviderError
    from reconciler.model.errors import ReconcilerError as ReconcilerError
    from reconciler.model.errors import Rejected as Rejected
    from reconciler.model.errors import ResourceFault as ResourceFault
    from reconciler.model.errors import SettingsError as SettingsError
    from reconciler.model.errors import StalePlan as StalePlan
    from reconciler.model.errors import StateHeld as StateHeld
    from reconciler.model.errors import StoreError as StoreError
    from reconciler.model.errors import Throttled as Throttled
    from reconciler.model.errors import Unanswered as Unanswered
    from reconciler.model.errors import Unavailable as Unavailable
    from reconciler.model.errors import Unreached as Unreached
    from reconciler.model.errors import UnsafePlan as UnsafePlan
    from reconciler.model.keys import NO_RECORDING as NO_RECORDING
    from reconciler.model.keys import UUID_PATTERN as UUID_PATTERN
    from reconciler.model.keys import CallKey as CallKey
    from reconciler.model.keys import RecordingKey as RecordingKey
    from reconciler.model.keys import key_of_line as key_of_line
    from reconciler.model.keys import parse_uuid as parse_uuid
    from reconciler.model.keys import status_line as status_line
    from reconciler.model.moments import Clock as Clock
    from reconciler.model.moments import instant as instant
    from reconciler.model.records import Event as Event
    from reconciler.model.records import Judged as Judged
    from reconciler.model.records import Judgements as Judgements
    from reconciler.model.records import Line as Line
    from reconciler.model.records import Record as Record
    from reconciler.model.records import RefusedSet as RefusedSet
    from reconciler.model.records import Request as Request
    from reconciler.model.records import Resting as Resting
    from reconciler.model.records import Seen as Seen
    from reconciler.model.records import Size as Size
    from reconciler.model.statuses import FINAL as FINAL
    from reconciler.model.statuses import SATISFIES as SATISFIES
    from reconciler.model.statuses import Drift as Drift
    from reconciler.model.statuses import Live as Live
    from reconciler.model.statuses import LiveStatus as LiveStatus
    from reconciler.model.statuses import Outcome as Outcome
    from reconciler.model.statuses import Phase as Phase
    from reconciler.model.statuses import Status as Status
    from reconciler.model.work import Priority as Priority
else:
    __getattr__ = face(
        __name__,
        {
            "actions": (
                "Action",
                "ActionKind",
                "LOST",
                "Reason",
                "Rule",
            ),
            "attention": (
                "ENDED_SHOWN",
                "as_seen",
                "is_ordinary_end",
                "is_past",
                "urgency",
            ),
            "documents": (
                "Desired",
                "InForce",
                "Labels",
                "Problem",
                "Revision",
                "Suspend",
            ),
            "errors": (
                "BODY_CHARACTERS",
                "CircuitOpen",
                "CredentialRefused",
                "DesiredStateError",
                "LeaseLost",
                "NoRoom",
                "Postponed",
                "ProviderError",
                "ReconcilerError",
                "Rejected",
                "ResourceFault",
                "SettingsError",
                "StalePlan",
                "StateHeld",
                "StoreError",
                "Throttled",
                "Unanswered",
                "Unavailable",
                "Unreached",
                "UnsafePlan",
            ),
            "keys": (
                "CallKey",
                "NO_RECORDING",
                "RecordingKey",
                "UUID_PATTERN",
                "key_of_line",
                "parse_uuid",
                "status_line",
            ),
            "moments": (
                "Clock",
                "instant",
            ),
            "records": (
                "Record",
                "Event",
                "Judged",
                "Judgements",
                "Line",
                "RefusedSet",
                "Request",
                "Resting",
                "Seen",
                "Size",
            ),
            "statuses": (
                "Drift",
                "FINAL",
                "Live",
                "LiveStatus",
                "Outcome",
                "Phase",
                "SATISFIES",
                "Status",
            ),
            "work": ("Priority",),
        },
    )
