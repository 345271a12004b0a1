"""Processes and sockets: a supervisor, its workers, HTTP/1.1 connections with their limits."""
