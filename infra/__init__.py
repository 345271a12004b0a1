"""The deployment on AWS: a CDK app, the rules its templates obey, and what it costs."""
