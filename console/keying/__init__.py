"""Letters that people key: from the spool and the archive to labels and the read's answer."""
