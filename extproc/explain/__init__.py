"""What the server would do with a request, and why: ``extproc explain`` and the admin API's ``Explain``.

A request that nobody sent goes the server's own way: the same stream, the same pipeline, built by
the same functions. Three parts are stood in for: nothing is exchanged at STS, nobody else's
sessions are used or made, and the decision is noted here instead of in metrics and audit log.
"""
