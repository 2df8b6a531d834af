"""A GitOps controller for the status of call recordings at Bird."""

__version__ = "0.1.0"
