"""List prices in USD. Change ``AS_OF`` when you check them.

The prices do not come from AWS's own price list but from the public page named above each one, with
the page's date in brackets if it has one. ``eu-central-1`` is 10 to 30 % dearer.
"""

from __future__ import annotations

AS_OF = "2026-11-21"
REGION = "us-east-1"

# Source: vantage.sh, "AWS Fargate Pricing Explained" (Linux/ARM)
FARGATE_VCPU_H = 0.03238
FARGATE_GB_H = 0.00356
# Source: aws.amazon.com/elasticloadbalancing/pricing, examples for us-east-1
ALB_H = 0.0225
ALB_LCU_H = 0.008
# Source: awsnegotiations.com, "AWS PrivateLink Cost Analysis" (May 2026)
ENDPOINT_AZ_H = 0.01
# Source: doit.com, "AWS Public IPv4 price increase - the complete guide" (since February 2024)
IPV4_H = 0.005
# Source: awsnegotiations.com, "AWS WAF Pricing Strategy" (2026); c3x.dev says the same
WAF_ACL = 5.0
WAF_RULE = 1.0  # AWS's free managed rule groups count as one rule each
WAF_MILLION = 0.60
# Source: infratally.com, "AWS RDS pricing explained 2026"; db.t4g.micro PostgreSQL, one zone
DATABASE_H = 0.016
# Source: usage.ai, RDS pricing calculator guide (June 2026)
GP3_GB = 0.115
# Source: cloudburn.io, "Amazon S3 Pricing Explained" (March 2026)
S3_GB = 0.023
# Source: c3x.dev, "S3 request fees explained": PUT in S3 Standard is 0.005 per 1,000 (no date)
S3_MILLION_PUTS = 5.0
# Source: signoz.io, "CloudWatch Pricing" (February 2026): of the first 10,000
METRIC = 0.30
# Source: c3x.dev, "aws_cloudwatch_metric_alarm cost estimation": 60-second evaluation (no date)
ALARM = 0.10
# Source: factualminds.com, "Amazon CloudWatch Pricing" (June 2026)
DASHBOARD = 3.0
LOGS_GB = 0.50
# Source: cloudburn.io, "AWS KMS Pricing" (March 2026); a yearly rotation adds to it
KMS_KEY = 1.0
# Source: hivebook.wiki, "AWS Secrets Manager" (no date)
SECRET = 0.40
