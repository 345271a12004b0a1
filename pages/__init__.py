"""HTML pages from Jinja2 templates: self-contained files with one stylesheet and no script."""
