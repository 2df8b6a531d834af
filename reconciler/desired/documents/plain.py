"""YAML that is no desired state, such as a settings file, by the same rules: scalars, refusals and limits."""

from __future__ import annotations

from reconciler.desired.documents.limits import DEFAULT_LIMITS, DocumentLimits
from reconciler.model import DesiredStateError


def load_plain(data: bytes, file: str, limits: DocumentLimits = DEFAULT_LIMITS) -> object:
    """Return the one value that a file holds; None when it holds none.

    Args:
        data: the content of the file.
        file: its path as it shall be shown.

    Raises:
        DesiredStateError: it is no YAML that this program reads, or holds several documents.
    """
    # Imported late: most commands read no such file.
    from reconciler.desired.documents.yaml_events import Irregular, read_documents

    try:
        values = [document.value for document in read_documents(data, limits)]
    except Irregular:
        values = []
    else:
        if len(values) <= 1:
            return values[0] if values else None
    # Imported late: a file without a mistake does not wait for it.
    from reconciler.desired.documents.nodes import Enough, ProblemList, decode, read_nodes

    problems = ProblemList(file)
    try:
        text = decode(data, limits, problems)
        nodes = [] if text is None else list(read_nodes(text, limits, problems))
        if len(nodes) > 1:
            problems.add(nodes[1].line, nodes[1].column, "one-document", "a second document where only one is read")
    except Enough:
        pass
    raise DesiredStateError(problems.sorted())
