"""Campaigns: what needs minutes to prove, as tools that are run by hand and as short forms in the tests.

Each builds a scene of its own (the sandbox as a process, documents in a folder, the daemon as a process), disturbs it,
and judges by what the sandbox saw and by the state file. It ends only processes that it started.
"""
