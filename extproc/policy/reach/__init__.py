"""Which rules can apply at all: conditions as boolean functions over their atoms.

``conditions`` splits a condition at ``&&``, ``||`` and ``!`` into atoms, ``variables`` knows which results of
atoms exclude each other, ``solver`` searches for results under which a rule applies and none before it does,
and ``findings`` reports the rules for which there are none.

Every finding is a proof. What is not known about an atom (its function, its types) leaves more results
possible, never fewer, and a search that takes too long finds nothing.
"""
