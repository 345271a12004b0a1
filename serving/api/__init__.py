"""What a request means: routes, payloads, answers and their description."""
