"""A controller for Kubernetes: resources of users become configurations and resources of Envoy Gateway.

It is a process of its own. The server calls no API of Kubernetes.
"""
