"""What should be done, as values: the decision on one recording, the plan of all, and the limits that hold it back.

Everything is computed from what is passed in, the time too; `saved` alone reads and writes files. What must never
happen here: a request, a look at a clock, or a change of what was passed in.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.plan.data import as_json as as_json
    from reconciler.plan.decision import CALL_SECONDS as CALL_SECONDS
    from reconciler.plan.decision import contradicts as contradicts
    from reconciler.plan.decision import decide as decide
    from reconciler.plan.evidence import CLOCK_STEPPED as CLOCK_STEPPED
    from reconciler.plan.evidence import Look as Look
    from reconciler.plan.evidence import Stretch as Stretch
    from reconciler.plan.evidence import apart_from_steps as apart_from_steps
    from reconciler.plan.evidence import looks_of as looks_of
    from reconciler.plan.evidence import moment as moment
    from reconciler.plan.evidence import step_of as step_of
    from reconciler.plan.evidence import stretches as stretches
    from reconciler.plan.evidence import what_happened as what_happened
    from reconciler.plan.limits import NAME_DIGITS as NAME_DIGITS
    from reconciler.plan.limits import Limits as Limits
    from reconciler.plan.limits import Refusal as Refusal
    from reconciler.plan.outline import Outline as Outline
    from reconciler.plan.outline import make_outline as make_outline
    from reconciler.plan.plan import Cause as Cause
    from reconciler.plan.plan import Plan as Plan
    from reconciler.plan.plan import Summary as Summary
    from reconciler.plan.plan import hold_against as hold_against
    from reconciler.plan.plan import make_change_plan as make_change_plan
    from reconciler.plan.plan import make_plan as make_plan
    from reconciler.plan.plan import narrow as narrow
    from reconciler.plan.plan import select as select
    from reconciler.plan.saved import SavedPlan as SavedPlan
    from reconciler.plan.saved import as_saved as as_saved
    from reconciler.plan.saved import check_approved as check_approved
    from reconciler.plan.saved import check_fits as check_fits
    from reconciler.plan.saved import check_place as check_place
    from reconciler.plan.saved import load_saved as load_saved
    from reconciler.plan.window import ENDED as ENDED
    from reconciler.plan.window import ChangeSet as ChangeSet
    from reconciler.plan.window import Refused as Refused
    from reconciler.plan.window import Verdict as Verdict
    from reconciler.plan.window import Window as Window
else:
    __getattr__ = face(
        __name__,
        {
            "data": ("as_json",),
            "decision": (
                "CALL_SECONDS",
                "contradicts",
                "decide",
            ),
            "evidence": (
                "CLOCK_STEPPED",
                "Look",
                "Stretch",
                "apart_from_steps",
                "looks_of",
                "moment",
                "step_of",
                "stretches",
                "what_happened",
            ),
            "limits": (
                "Limits",
                "NAME_DIGITS",
                "Refusal",
            ),
            "outline": (
                "Outline",
                "make_outline",
            ),
            "plan": (
                "Cause",
                "Plan",
                "Summary",
                "hold_against",
                "make_change_plan",
                "make_plan",
                "narrow",
                "select",
            ),
            "saved": (
                "SavedPlan",
                "as_saved",
                "check_approved",
                "check_fits",
                "check_place",
                "load_saved",
            ),
            "window": (
                "ChangeSet",
                "ENDED",
                "Refused",
                "Verdict",
                "Window",
            ),
        },
    )
