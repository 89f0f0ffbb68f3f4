"""Recipes for identity providers: their tokens, the ways of these to STS, and the configuration of each way.

The data are in ``recipes``, one file for each provider. ``extproc init`` writes configurations from them, and
``docs/idp`` is made from them.
"""
