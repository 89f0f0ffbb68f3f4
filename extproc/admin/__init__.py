"""Generated from ``protos/extproc/admin``; ``extproc.adminapi`` is what serves it."""
