"""Which files of desired state there are, what is in them, and which of them changed since.

What a file means is not decided here (`documents` does), nor what follows from it (`catalog`).

    folder: walk (what is below the given paths) -> tree (the result) -> watch (what moved since)
    branch: the same answers for the files of a branch of a Git repository
"""
