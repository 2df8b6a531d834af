"""What a change is: the documents at a Git commit, and those that are to take their place.

The former are read out of the repository's objects; the latter are the work tree's files as a commit would have them,
or those of the index or of another commit. Both are found by the same rules as those on disk, each in its own tree: a
link or a submodule means what it means there. What must never happen in this room: another repository than the one that
the paths are in answers; a document that its schema refuses counts as one that was there; what cannot be read counts as
one that is not there.

    paths (which repository) -> forest (its trees) -> listing (the documents in them)
    -> commit (one side) and change (both sides), with worktree and sight for what is not committed
"""
