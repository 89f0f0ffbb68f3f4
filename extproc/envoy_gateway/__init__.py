"""Resources that make Envoy Gateway safe with extproc."""
