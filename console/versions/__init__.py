"""Pages under /models: candidates beside the champion, and the buttons that change it."""
