"""Clients under faults of the network between them and the service."""
