"""Envoy's messages: decoding, encoding, and the wire format that both share."""
