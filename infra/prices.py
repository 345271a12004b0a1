"""List prices in USD of the region that the environments deploy to.

Change ``AS_OF`` when you check them. AWS's own price list was not reachable: each price comes from
a public copy of it (named by usage type, which is the key in AWS's list) or from a page.
"""

from __future__ import annotations

from contract import compute_prices

AS_OF = compute_prices.AS_OF
REGION = "eu-central-1"
LIST = "AWS on-demand list prices"

FARGATE_VCPU_H = compute_prices.FARGATE_VCPU_H
FARGATE_GB_H = compute_prices.FARGATE_GB_H
# EUC1-LoadBalancerUsage: 19.44 on a bill of 30 days
ALB_H = 0.027
# aws.amazon.com/elasticloadbalancing/pricing, us-east-1; no page found for this region
ALB_LCU_H = 0.008
# EUC1-VpcEndpoint-Hours (copy of 2026-09)
ENDPOINT_AZ_H = 0.012
# EUC1-PublicIPv4:InUseAddress: 3.60 on a bill of 30 days
IPV4_H = 0.005
# awsnegotiations.com, "AWS WAF Pricing Strategy" (2026); the same in every region
WAF_ACL = 5.0
WAF_RULE = 1.0  # AWS's free managed rule groups count as one rule each
WAF_MILLION = 0.60
# EUC1-InstanceUsage:db.t4g.micro 13.68 and EUC1-RDS:GP3-Storage 2.74 for 20 GB, a bill of 30 days
DATABASE_H = 0.019
GP3_GB = 0.137
# EUC1-TimedStorage-ByteHrs (copy of 2026)
S3_GB = 0.0245
# c3x.dev, "S3 request fees explained", us-east-1; no page found for this region
S3_MILLION_PUTS = 5.0
# signoz.io, "CloudWatch Pricing" (February 2026): of the first 10,000
METRIC = 0.30
# c3x.dev, "aws_cloudwatch_metric_alarm cost estimation": 60-second evaluation (no date)
ALARM = 0.10
FAST_ALARM = 0.30  # the same page: periods below a minute
# factualminds.com, "Amazon CloudWatch Pricing" (June 2026)
DASHBOARD = 3.0
# EUC1-DataProcessing-Bytes (billing rules of 2025)
LOGS_GB = 0.63
# cloudburn.io, "AWS KMS Pricing" (March 2026); a yearly rotation adds to it
KMS_KEY = 1.0
KMS_MILLION_CALLS = 3.0
# hivebook.wiki, "AWS Secrets Manager" (no date)
SECRET = 0.40
SECRET_MILLION_CALLS = 5.0
# wring.co and AWS's Lambda page, us-east-1, ARM; no page found for this region
LAMBDA_GB_S = 0.0000133334
LAMBDA_MILLION = 0.20
