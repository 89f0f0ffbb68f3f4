"""What a change of the configuration gives to whom: ``extproc diff``, and shadow decisions.

``evaluation`` and ``entries`` make of each mapping and ceiling a function over atoms (``policy.reach``),
``witness`` searches for results of atoms under which two policies part, ``roles`` reports them by what they
have in common, and ``settings`` compares all that is not a rule. ``outcome`` judges which of two outcomes
is more. What is not known counts as more.
"""
