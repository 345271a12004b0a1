#!/usr/bin/env bash
# Build both images for STAGE, scan both, and only then give them the tag that starts the release; wait for its end.
# BUILD makes the tag unique. BASE is the base image by its digest; without it, the newest one.
# sbom/ gets a bill of materials of each pushed image.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${STAGE:?}" "${BUILD:?}" "${AWS_REGION:?}"
PYTHON=${PYTHON:-python3}
ACCOUNT=$(aws sts get-caller-identity --query Account --output text)
REGISTRY=$ACCOUNT.dkr.ecr.$AWS_REGION.amazonaws.com
manifest() { "$PYTHON" -c "import json; print(json.load(open('model/champion/manifest.json'))['$1'])"; }
TAG=champion-$(manifest version)-$(git rev-parse --short HEAD)-$BUILD

buildx() { docker buildx build --platform linux/arm64 --pull --no-cache --provenance=false "$@"; }

candidate() { # image, arguments; the tag starts no release, because it does not start with champion-
  local image=$1 name=$REGISTRY/digitline-$STAGE/$1:candidate-$TAG
  shift
  buildx --push --tag "$name" --build-arg "BASE=$BASE" --build-arg "REVISION=$(git rev-parse HEAD)" \
    --label "org.opencontainers.image.base.name=${BASE%@*}" \
    --label "org.opencontainers.image.base.digest=${BASE#*@}" "$@" .
  # the bill is of what was pushed: tags cannot be moved
  echo "FROM $name" | buildx --sbom=true --output "type=local,dest=.work/sbom-$image" -
  mkdir -p sbom && cp ".work/sbom-$image"/sbom*.json "sbom/$image.spdx.json"
}
scan() { # image; fails on a critical finding
  local found
  aws ecr wait image-scan-complete --repository-name "digitline-$STAGE/$1" --image-id "imageTag=candidate-$TAG"
  found=$(aws ecr describe-image-scan-findings --repository-name "digitline-$STAGE/$1" \
    --image-id "imageTag=candidate-$TAG" --query 'imageScanFindings.findingSeverityCounts.CRITICAL' --output text)
  [ "$found" = None ] || {
    echo "not released: $found critical findings in $1:candidate-$TAG" >&2
    exit 1
  }
}
release() { # image; the same manifest under a second tag
  local found
  found=$(aws ecr batch-get-image --repository-name "digitline-$STAGE/$1" \
    --image-ids "imageTag=candidate-$TAG" --query 'images[0].imageManifest' --output text)
  aws ecr put-image --repository-name "digitline-$STAGE/$1" --image-tag "$TAG" --image-manifest "$found" > /dev/null
}

aws ecr get-login-password | docker login --username AWS --password-stdin "$REGISTRY"
docker buildx create --use --driver docker-container # Docker's default builder writes no bill of materials
if [ -z "${BASE:-}" ]; then
  BASE=python:3.11-slim@$(docker buildx imagetools inspect python:3.11-slim --format '{{.Manifest.Digest}}')
fi
echo "base=$BASE" | tee -a "${GITHUB_OUTPUT:-/dev/null}"
candidate jobs --file deploy/Dockerfile.jobs
candidate service --file deploy/Dockerfile --build-arg "MODEL_VERSION=$(manifest version)" \
  --build-arg "MODEL_SHA256=$(manifest sha256)"
scan jobs
scan service
SINCE=$(date -u +%Y-%m-%dT%H:%M:%SZ)
release jobs # first: the service's tag starts the release, which looks for the jobs' image
release service
PYTHONPATH=. "$PYTHON" -m infra.release_wait "$STAGE" "$SINCE"
