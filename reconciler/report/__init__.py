"""A plan for whoever reads it: people at a terminal, reviewers of a pull request, programs, dashboards. Pure.

One module a form; `words` is what they share. Each returns a string and prints nothing. What a report shows is chosen
field by field, so that nothing that was not meant to be shown can be: no label, no annotation, no reason of a document.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.report.annotations import as_annotations as as_annotations
    from reconciler.report.annotations import problems_as_annotations as problems_as_annotations
    from reconciler.report.code_quality import as_code_quality as as_code_quality
    from reconciler.report.code_quality import problems_as_code_quality as problems_as_code_quality
    from reconciler.report.columns import UNBOUNDED as UNBOUNDED
    from reconciler.report.columns import byte_count as byte_count
    from reconciler.report.columns import wrapped as wrapped
    from reconciler.report.history import FORMAT as FORMAT
    from reconciler.report.history import Subject as Subject
    from reconciler.report.history import Then as Then
    from reconciler.report.history import event_data as event_data
    from reconciler.report.history import event_line as event_line
    from reconciler.report.history import stretch_data as stretch_data
    from reconciler.report.history import stretch_lines as stretch_lines
    from reconciler.report.history import then_data as then_data
    from reconciler.report.history import then_line as then_line
    from reconciler.report.junit import as_junit as as_junit
    from reconciler.report.junit import problems_as_junit as problems_as_junit
    from reconciler.report.markdown import as_markdown as as_markdown
    from reconciler.report.markdown import problems_as_markdown as problems_as_markdown
    from reconciler.report.page import as_html as as_html
    from reconciler.report.refusals import refusal_data as refusal_data
    from reconciler.report.refusals import refusal_line as refusal_line
    from reconciler.report.sarif import as_sarif as as_sarif
    from reconciler.report.sarif_log import problems_as_sarif as problems_as_sarif
    from reconciler.report.status import StateSeen as StateSeen
    from reconciler.report.status import current as current
    from reconciler.report.status import in_order as in_order
    from reconciler.report.status import status_data as status_data
    from reconciler.report.status import status_text as status_text
    from reconciler.report.text import as_text as as_text
    from reconciler.report.text import outline_as_text as outline_as_text
    from reconciler.report.words import REASONS as REASONS
else:
    __getattr__ = face(
        __name__,
        {
            "annotations": (
                "as_annotations",
                "problems_as_annotations",
            ),
            "code_quality": (
                "as_code_quality",
                "problems_as_code_quality",
            ),
            "columns": (
                "UNBOUNDED",
                "byte_count",
                "wrapped",
            ),
            "history": (
                "FORMAT",
                "Subject",
                "Then",
                "event_data",
                "event_line",
                "stretch_data",
                "stretch_lines",
                "then_data",
                "then_line",
            ),
            "junit": (
                "as_junit",
                "problems_as_junit",
            ),
            "markdown": (
                "as_markdown",
                "problems_as_markdown",
            ),
            "page": ("as_html",),
            "refusals": (
                "refusal_data",
                "refusal_line",
            ),
            "sarif": ("as_sarif",),
            "sarif_log": ("problems_as_sarif",),
            "status": (
                "StateSeen",
                "current",
                "in_order",
                "status_data",
                "status_text",
            ),
            "text": (
                "as_text",
                "outline_as_text",
            ),
            "words": ("REASONS",),
        },
    )
