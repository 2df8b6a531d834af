"""Which documents are in force: found below paths or on a branch, read, validated, indexed and followed.

    sources (files, or a branch) -> documents (bytes to desired state, or problems) -> catalog (all of it, in force)

What must never happen here: an invalid file that changes what its last valid version declared; a file that chooses what
is read, run or trusted; a request to the API.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.desired.baseline.change import Compared as Compared
    from reconciler.desired.baseline.change import read_change as read_change
    from reconciler.desired.baseline.change import read_staged as read_staged
    from reconciler.desired.baseline.sight import Checkout as Checkout
    from reconciler.desired.catalog import Catalog as Catalog
    from reconciler.desired.catalog import CatalogChange as CatalogChange
    from reconciler.desired.documents.conflicts import FileDocuments as FileDocuments
    from reconciler.desired.documents.conflicts import cross_check as cross_check
    from reconciler.desired.documents.excerpt import Lines as Lines
    from reconciler.desired.documents.excerpt import explain as explain
    from reconciler.desired.documents.limits import DocumentLimits as DocumentLimits
    from reconciler.desired.documents.parse import parse_documents as parse_documents
    from reconciler.desired.documents.plain import load_plain as load_plain
    from reconciler.desired.documents.schema import schema_text as schema_text
    from reconciler.desired.documents.wording import nearest as nearest
    from reconciler.desired.documents.yaml_events import PureParser as PureParser
    from reconciler.desired.documents.yaml_events import new_parser as new_parser
    from reconciler.desired.edit import Suspension as Suspension
    from reconciler.desired.edit import add_suspend as add_suspend
    from reconciler.desired.edit import remove_suspend as remove_suspend
    from reconciler.desired.edit import set_status as set_status
    from reconciler.desired.export import Export as Export
    from reconciler.desired.export import append as append
    from reconciler.desired.export import document_text as document_text
    from reconciler.desired.export import give_names as give_names
    from reconciler.desired.export import join as join
    from reconciler.desired.export import status_of as status_of
    from reconciler.desired.export import why_not as why_not
    from reconciler.desired.follow import Follower as Follower
    from reconciler.desired.index.file import Index as Index
    from reconciler.desired.labels import matches as matches
    from reconciler.desired.labels import parse_label as parse_label
    from reconciler.desired.load import Files as Files
    from reconciler.desired.load import Loaded as Loaded
    from reconciler.desired.load import load_documents as load_documents
    from reconciler.desired.load import uncollected as uncollected
    from reconciler.desired.revision import Revisions as Revisions
    from reconciler.desired.revision import find_revisions as find_revisions
    from reconciler.desired.rewrite import replace_file as replace_file
    from reconciler.desired.scan import load_against as load_against
    from reconciler.desired.scan import load_among as load_among
    from reconciler.desired.shipped import sample_text as sample_text
    from reconciler.desired.sources.branch import BranchSettings as BranchSettings
    from reconciler.desired.sources.branch import GitSource as GitSource
    from reconciler.desired.sources.branch import SourceState as SourceState
    from reconciler.desired.sources.folder import Source as Source
    from reconciler.desired.sources.judging import Refused as Refused
else:
    __getattr__ = face(
        __name__,
        {
            "baseline.change": (
                "Compared",
                "read_change",
                "read_staged",
            ),
            "baseline.sight": ("Checkout",),
            "catalog": (
                "Catalog",
                "CatalogChange",
            ),
            "documents.conflicts": (
                "FileDocuments",
                "cross_check",
            ),
            "documents.excerpt": (
                "Lines",
                "explain",
            ),
            "documents.limits": ("DocumentLimits",),
            "documents.parse": ("parse_documents",),
            "documents.plain": ("load_plain",),
            "documents.schema": ("schema_text",),
            "documents.wording": ("nearest",),
            "documents.yaml_events": (
                "PureParser",
                "new_parser",
            ),
            "edit": (
                "Suspension",
                "add_suspend",
                "remove_suspend",
                "set_status",
            ),
            "export": (
                "Export",
                "append",
                "document_text",
                "give_names",
                "join",
                "status_of",
                "why_not",
            ),
            "follow": ("Follower",),
            "index.file": ("Index",),
            "labels": (
                "matches",
                "parse_label",
            ),
            "load": (
                "Files",
                "Loaded",
                "load_documents",
                "uncollected",
            ),
            "revision": (
                "Revisions",
                "find_revisions",
            ),
            "rewrite": ("replace_file",),
            "scan": (
                "load_against",
                "load_among",
            ),
            "shipped": ("sample_text",),
            "sources.branch": (
                "BranchSettings",
                "GitSource",
                "SourceState",
            ),
            "sources.folder": ("Source",),
            "sources.judging": ("Refused",),
        },
    )
