"""Envoy's ext_proc messages, generated from ``protos/`` by ``make protos``; never edited.

An own copy, since the package that has all of Envoy's API (xds-protos) also installs files of
OpenTelemetry and of Google: docs/decisions/0009-own-copy-of-the-ext-proc-messages.md.
"""
