"""The HTTP service. A request passes server/, edge/, api/ and reading/, in this order."""
