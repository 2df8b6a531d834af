"""Everything that starts the git program: a person's own repository, asked and never told, and the mirror of a branch.

`ask` alone starts it, with guards that no setting of a repository passes: for the `repositories` that people work in,
and by `mirror.command` for the mirror. What must never happen here: a program that a repository names is run, or
something is written to a repository that is not our own mirror, but for the one commit that a person asked for.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.git.ask import GitError as GitError
    from reconciler.git.ask import check_version as check_version
    from reconciler.git.ask import withhold as withhold
    from reconciler.git.blobs import DIGEST_BYTES as DIGEST_BYTES
    from reconciler.git.blobs import WIDE_BYTES as WIDE_BYTES
    from reconciler.git.blobs import blob_of as blob_of
    from reconciler.git.blobs import content_digest as content_digest
    from reconciler.git.blobs import is_same as is_same
    from reconciler.git.commit import check_committable as check_committable
    from reconciler.git.commit import commit_file as commit_file
    from reconciler.git.content import Entry as Entry
    from reconciler.git.content import describe as describe
    from reconciler.git.content import index_of as index_of
    from reconciler.git.content import is_shallow as is_shallow
    from reconciler.git.content import is_unborn as is_unborn
    from reconciler.git.content import list_addable as list_addable
    from reconciler.git.content import list_index as list_index
    from reconciler.git.content import list_raw as list_raw
    from reconciler.git.content import list_tree as list_tree
    from reconciler.git.content import list_unwatched as list_unwatched
    from reconciler.git.content import may_leave_out as may_leave_out
    from reconciler.git.content import merge_base as merge_base
    from reconciler.git.content import read_blobs as read_blobs
    from reconciler.git.content import resolve as resolve
    from reconciler.git.content import sizes as sizes
    from reconciler.git.mirror.address import Address as Address
    from reconciler.git.mirror.address import parse_address as parse_address
    from reconciler.git.mirror.command import GitFailed as GitFailed
    from reconciler.git.mirror.command import GitUnavailable as GitUnavailable
    from reconciler.git.mirror.repository import Mirror as Mirror
    from reconciler.git.mirror.repository import Way as Way
    from reconciler.git.mirror.signatures import Verdict as Verdict
    from reconciler.git.mirror.signatures import Verifier as Verifier
    from reconciler.git.repositories import LacksObjects as LacksObjects
    from reconciler.git.repositories import Location as Location
    from reconciler.git.repositories import Repository as Repository
    from reconciler.git.repositories import locate as locate
else:
    __getattr__ = face(
        __name__,
        {
            "ask": (
                "GitError",
                "check_version",
                "withhold",
            ),
            "blobs": (
                "DIGEST_BYTES",
                "WIDE_BYTES",
                "blob_of",
                "content_digest",
                "is_same",
            ),
            "commit": (
                "check_committable",
                "commit_file",
            ),
            "content": (
                "Entry",
                "describe",
                "index_of",
                "is_shallow",
                "is_unborn",
                "list_addable",
                "list_index",
                "list_raw",
                "list_tree",
                "list_unwatched",
                "may_leave_out",
                "merge_base",
                "read_blobs",
                "resolve",
                "sizes",
            ),
            "mirror.address": (
                "Address",
                "parse_address",
            ),
            "mirror.command": (
                "GitFailed",
                "GitUnavailable",
            ),
            "mirror.repository": (
                "Mirror",
                "Way",
            ),
            "mirror.signatures": (
                "Verdict",
                "Verifier",
            ),
            "repositories": (
                "LacksObjects",
                "Location",
                "Repository",
                "locate",
            ),
        },
    )
