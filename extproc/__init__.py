"""An Envoy external processor: an OIDC bearer token in, a SigV4-signed request out."""
