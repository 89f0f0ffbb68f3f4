"""Tests of a policy: cases in YAML, decided as the server would, for ``extproc test``.

Each case is explained by ``explain.run``, so that a case passes only if the server would do the same.
"""
