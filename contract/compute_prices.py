"""List prices of computing, in USD an hour: what infra's bill and a bulk job's estimate share.

`infra/prices.py` says how prices were found, and has the others.
"""

from typing import Final

AS_OF: Final = "2026-11-26"
# EUC1-Fargate-vCPU-Hours:perCPU 0.04656 and EUC1-Fargate-GB-Hours 0.00511 (copy of 2026-07-07),
# times 0.8: what ARM costs of x86 in us-east-1 (vantage.sh, "AWS Fargate Pricing Explained")
FARGATE_VCPU_H: Final = 0.03725
FARGATE_GB_H: Final = 0.00409
