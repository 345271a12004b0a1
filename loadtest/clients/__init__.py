"""Load generators: a minimal HTTP/1.1 client, an open-loop client, and wrk."""
