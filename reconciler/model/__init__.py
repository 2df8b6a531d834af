"""Every noun of this program, and the tree of its failures.

What stands here is a value: it is valid from the moment it exists, it never changes, and it knows no file, no socket,
no clock and no other room. Nothing here computes what should be done.
"""

from typing import TYPE_CHECKING

from reconciler import face

if TYPE_CHECKING:
    from reconciler.model.attention import ENDED_SHOWN as ENDED_SHOWN
    from reconciler.model.attention import as_seen as as_seen
    from reconciler.model.attention import is_ordinary_end as is_ordinary_end
    from reconciler.model.attention import is_past as is_past
    from reconciler.model.attention import urgency as urgency
    from reconciler.model.errors import BODY_CHARACTERS as BODY_CHARACTERS
    from reconciler.model.errors import BirdError as BirdError
    from reconciler.model.errors import BirdRejected as BirdRejected
    from reconciler.model.errors import BirdUnauthorized as BirdUnauthorized
    from reconciler.model.errors import BirdUnavailable as BirdUnavailable
    from reconciler.model.errors import DesiredStateError as DesiredStateError
    from reconciler.model.errors import LeaseLost as LeaseLost
    from reconciler.model.errors import ReconcilerError as ReconcilerError
    from reconciler.model.errors import ResourceFault as ResourceFault
    from reconciler.model.errors import SettingsError as SettingsError
    from reconciler.model.errors import StalePlan as StalePlan
    from reconciler.model.errors import StateHeld as StateHeld
    from reconciler.model.errors import StoreError as StoreError
    from reconciler.model.errors import UnsafePlan as UnsafePlan
    from reconciler.model.moments import Clock as Clock
    from reconciler.model.moments import instant as instant
    from reconciler.model.nouns import FINAL as FINAL
    from reconciler.model.nouns import LOST as LOST
    from reconciler.model.nouns import NO_RECORDING as NO_RECORDING
    from reconciler.model.nouns import SATISFIES as SATISFIES
    from reconciler.model.nouns import UUID_PATTERN as UUID_PATTERN
    from reconciler.model.nouns import Action as Action
    from reconciler.model.nouns import ActionKind as ActionKind
    from reconciler.model.nouns import Applied as Applied
    from reconciler.model.nouns import CallKey as CallKey
    from reconciler.model.nouns import Desired as Desired
    from reconciler.model.nouns import Drift as Drift
    from reconciler.model.nouns import Event as Event
    from reconciler.model.nouns import InForce as InForce
    from reconciler.model.nouns import Judged as Judged
    from reconciler.model.nouns import Judgements as Judgements
    from reconciler.model.nouns import Labels as Labels
    from reconciler.model.nouns import Live as Live
    from reconciler.model.nouns import LiveStatus as LiveStatus
    from reconciler.model.nouns import Outcome as Outcome
    from reconciler.model.nouns import Phase as Phase
    from reconciler.model.nouns import Priority as Priority
    from reconciler.model.nouns import Problem as Problem
    from reconciler.model.nouns import Reason as Reason
    from reconciler.model.nouns import RecordingKey as RecordingKey
    from reconciler.model.nouns import RefusedSet as RefusedSet
    from reconciler.model.nouns import Request as Request
    from reconciler.model.nouns import Resting as Resting
    from reconciler.model.nouns import Revision as Revision
    from reconciler.model.nouns import Rule as Rule
    from reconciler.model.nouns import Status as Status
    from reconciler.model.nouns import Suspend as Suspend
    from reconciler.model.nouns import key_of_line as key_of_line
    from reconciler.model.nouns import parse_uuid as parse_uuid
    from reconciler.model.nouns import status_line as status_line
    from reconciler.model.records import Line as Line
    from reconciler.model.records import Seen as Seen
    from reconciler.model.records import Size as Size
else:
    __getattr__ = face(
        __name__,
        {
            "attention": (
                "ENDED_SHOWN",
                "as_seen",
                "is_ordinary_end",
                "is_past",
                "urgency",
            ),
            "errors": (
                "BODY_CHARACTERS",
                "BirdError",
                "BirdRejected",
                "BirdUnauthorized",
                "BirdUnavailable",
                "DesiredStateError",
                "LeaseLost",
                "ReconcilerError",
                "ResourceFault",
                "SettingsError",
                "StalePlan",
                "StateHeld",
                "StoreError",
                "UnsafePlan",
            ),
            "moments": (
                "Clock",
                "instant",
            ),
            "nouns": (
                "Action",
                "ActionKind",
                "Applied",
                "CallKey",
                "Desired",
                "Drift",
                "Event",
                "FINAL",
                "InForce",
                "Judged",
                "Judgements",
                "LOST",
                "Labels",
                "Live",
                "LiveStatus",
                "NO_RECORDING",
                "Outcome",
                "Phase",
                "Priority",
                "Problem",
                "Reason",
                "RecordingKey",
                "RefusedSet",
                "Request",
                "Resting",
                "Revision",
                "Rule",
                "SATISFIES",
                "Status",
                "Suspend",
                "UUID_PATTERN",
                "key_of_line",
                "parse_uuid",
                "status_line",
            ),
            "records": (
                "Line",
                "Seen",
                "Size",
            ),
        },
    )
