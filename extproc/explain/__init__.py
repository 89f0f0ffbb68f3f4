"""What the server would do with a request, and why: ``extproc explain`` and the admin API's ``Explain``.

The request passes through the server's own stream and pipeline, built by the same functions. Three parts are
replaced (``explain.stand_ins``): STS is not called, the server's sessions are neither used nor changed, and
the decision goes to the explanation instead of metrics and audit log.
"""
