"""Sources of AWS Lambda functions: each file runs alone, without the rest of the repository."""
