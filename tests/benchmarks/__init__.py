"""Benchmarks: each a script that measures the installed command against a floor taken in the same run.

`python -m tests.benchmarks` runs them all, `python -m tests.benchmarks.<name>` runs one. No test judges by them: that
each of them works is tested at a tiny size, what they measured is a matter for people.
"""
