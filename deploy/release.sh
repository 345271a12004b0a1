#!/usr/bin/env bash
# Build both images for STAGE anew, scan them, push them, and wait until the release has ended.
# The bill of materials of each is written to sbom/. BUILD makes the tag unique.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${STAGE:?}" "${BUILD:?}" "${AWS_REGION:?}"
PYTHON=${PYTHON:-python3}
ACCOUNT=$(aws sts get-caller-identity --query Account --output text)
REGISTRY=$ACCOUNT.dkr.ecr.$AWS_REGION.amazonaws.com
manifest() { "$PYTHON" -c "import json; print(json.load(open('model/champion/manifest.json'))['$1'])"; }
TAG=champion-$(manifest version)-$(git rev-parse --short HEAD)-$BUILD

build() { # image, arguments; always with the newest patches of the base
  local image=$1
  shift
  docker buildx build --platform linux/arm64 --pull --no-cache --provenance=false --push \
    --build-arg "REVISION=$(git rev-parse HEAD)" --tag "$REGISTRY/digitline-$STAGE/$image:$TAG" "$@" .
  docker buildx build --platform linux/arm64 --provenance=false --sbom=true \
    --output "type=local,dest=.work/sbom-$image" "$@" .
  mkdir -p sbom && cp ".work/sbom-$image"/sbom*.json "sbom/$image.spdx.json"
}
scan() { # fails on a critical finding
  local found
  aws ecr wait image-scan-complete --repository-name "digitline-$STAGE/$1" --image-id "imageTag=$TAG"
  found=$(aws ecr describe-image-scan-findings --repository-name "digitline-$STAGE/$1" \
    --image-id "imageTag=$TAG" --query 'imageScanFindings.findingSeverityCounts.CRITICAL' --output text)
  [ "$found" = None ] || {
    echo "not released: $found critical findings in $1:$TAG" >&2
    exit 1
  }
}

aws ecr get-login-password | docker login --username AWS --password-stdin "$REGISTRY"
# The jobs first: they hold everything that the service holds, and pushing the service releases.
build jobs --file deploy/Dockerfile.jobs
scan jobs
SINCE=$(date -u +%Y-%m-%dT%H:%M:%SZ)
build service --file deploy/Dockerfile --build-arg "MODEL_VERSION=$(manifest version)" \
  --build-arg "MODEL_SHA256=$(manifest sha256)"
PYTHONPATH=. "$PYTHON" -m infra.release_wait "$STAGE" "$SINCE"
