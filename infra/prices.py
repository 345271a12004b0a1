"""List prices in USD, in one place. Change ``AS_OF`` when you check them.

No price list could be read from here: each price is quoted from the public page named beside it,
or, where it says "not rechecked", from knowledge. ``eu-central-1`` is 10 to 30 % dearer.
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
# not rechecked
IPV4_H = 0.005
WAF_ACL = 5.0
WAF_RULE = 1.0
WAF_MILLION = 0.60
DATABASE_H = 0.016  # db.t4g.micro PostgreSQL, one zone
GP3_GB = 0.115
S3_GB = 0.023
S3_MILLION_PUTS = 5.0
METRIC = 0.30
ALARM = 0.10
DASHBOARD = 3.0
LOGS_GB = 0.50
KMS_KEY = 1.0
SECRET = 0.40
