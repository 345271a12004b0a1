"""Load generators: HTTP/1.1 on sockets, open loop, and wrk."""
