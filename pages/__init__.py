"""HTML pages from Jinja2 templates: one stylesheet, one file a page, nothing fetched, no script."""
