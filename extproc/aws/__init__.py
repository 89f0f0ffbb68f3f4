"""What AWS must know of a configuration: OIDC providers, trust policies, durations."""
