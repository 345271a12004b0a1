#!/usr/bin/env bash
# Starts the stack of deploy/compose.yaml on a machine that cannot pull images, and tests it.
#
#   deploy/image.sh tools base build jobs && deploy/compose.sh
#
# It starts its own Docker engine (Debian's packages) and uses our two images from deploy/image.sh.
# The images of nginx, PostgreSQL and Prometheus are built from Debian's packages under the names in
# compose.yaml. Grafana has no Debian package and is not started. compose.yaml is used unchanged
# except for `name:`, which Debian's docker-compose 1.29 does not support.
set -euo pipefail
cd "$(dirname "$0")/.."
ROOT=$PWD
FILES=$ROOT/.work/image
STACK=$FILES/stack
export DOCKER_HOST=unix://$STACK/docker.sock DOCKER_BUILDKIT=0
export CONTAINERS_STORAGE_CONF=$FILES/storage.conf CONTAINERS_CONF=$FILES/run.conf
SERVICES=(service nginx shipper watch reports retrain console postgres mlflow prometheus)

install_tools() {
  command -v dockerd > /dev/null && command -v docker-compose > /dev/null && return
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=180 docker.io docker-compose > "$FILES/compose-tools.log" 2>&1
}

# The engine adds no rules to this machine's firewall: containers reach each other on their bridge,
# and Docker's proxy publishes the ports.
start_engine() {
  mkdir -p "$STACK"
  dockerd --host "$DOCKER_HOST" --data-root "$STACK/data" --exec-root "$STACK/exec" \
    --pidfile "$STACK/dockerd.pid" --iptables=false --ip6tables=false --ip-forward=false \
    --bridge=none > "$STACK/dockerd.log" 2>&1 &
  for _ in $(seq 100); do
    docker version > /dev/null 2>&1 && return
    sleep 0.2
  done
  tail -20 "$STACK/dockerd.log"
  return 1
}

load_image() { # copy an image from buildah to Docker, if this build is not there yet
  local built
  built=sha256:$(buildah inspect --type image --format '{{.FromImageID}}' "$1")
  [ "$(docker image inspect --format '{{.Id}}' "$1" 2> /dev/null)" != "$built" ] || return 0
  rm -f "$STACK/image.tar"
  buildah push -q "$1" "docker-archive:$STACK/image.tar:$1"
  docker load -q -i "$STACK/image.tar"
  rm -f "$STACK/image.tar"
}

build_stand_in() { # NAME < Dockerfile
  docker image inspect "$1" > /dev/null 2>&1 && return
  docker build -q --network host -t "$1" - > /dev/null
}

image_of() { sed -n "s|^    image: \($1:.*\)|\1|p" deploy/compose.yaml; }

build_stand_ins() {
  build_stand_in "$(image_of nginx)" << 'D'
FROM python:3.11-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light \
 && groupadd --system --non-unique --gid 101 nginx \
 && useradd --system --non-unique --uid 101 --gid 101 nginx \
 && rm -rf /var/lib/nginx && ln -s /var/cache/nginx /var/lib/nginx \
 && ln -sf /dev/stderr /var/log/nginx/error.log
CMD ["nginx", "-g", "daemon off;"]
D
  build_stand_in "$(image_of postgres)" << 'D'
FROM python:3.11-slim
ENV PGDATA=/var/lib/postgresql/data PATH=/usr/lib/postgresql/15/bin:$PATH
RUN apt-get update -qq && mkdir -p /usr/share/man/man1 /usr/share/man/man7 \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-15 \
 && install -d -o postgres -g postgres -m 0700 "$PGDATA" /var/run/postgresql \
 && printf '%s\n' 'set -e' 'if [ ! -s "$PGDATA/PG_VERSION" ]; then' \
      'initdb -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" -A scram-sha-256 --auth-local=trust' \
      'echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"' \
      'pg_ctl -w -o "-c listen_addresses=" start' 'createdb -U "$POSTGRES_USER" "$POSTGRES_DB"' \
      'pg_ctl -w stop' 'fi' 'exec postgres -c "listen_addresses=*"' > /start.sh
USER postgres
VOLUME /var/lib/postgresql/data
CMD ["sh", "/start.sh"]
D
  build_stand_in "$(image_of prom/prometheus)" << 'D'
FROM python:3.11-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus \
 && install -d -o nobody -g nogroup /prometheus
USER nobody
VOLUME /prometheus
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
D
}

new_key() { # SITE SCOPES, into the project's key file
  "${PYTHON:-python3}" -m serving.keys new --site "$1" --scopes "$2" \
    --file "$STACK/project/secrets/api_keys.json" | sed -n 's/^key (shown once): //p'
}

# A copy of deploy/ with secrets created as compose.yaml says.
make_project() {
  rm -rf "$STACK/project"
  cp -r deploy "$STACK/project"
  rm -rf "$STACK/model" && mkdir "$STACK/model" && cp -r model/champion "$STACK/model/"
  mkdir -p "$STACK/model-store"
  sed -i '/^name:/d' "$STACK/project/compose.yaml"
  local secrets=$STACK/project/secrets
  rm -rf "$secrets"
  mkdir -m 700 "$secrets"
  new_key here predict > "$STACK/key"
  new_key office label,review,admin > "$STACK/office-key"
  openssl rand -hex 24 > "$secrets/postgres_password"
  openssl rand -hex 24 > "$secrets/grafana_password"
  chmod 644 "$secrets"/*
  cat > "$STACK/project/ours.yaml" << 'Y'
services:
  service: {image: "localhost/digitline:test"}
  shipper: {image: "localhost/digitline:jobs"}
  watch: {image: "localhost/digitline:jobs"}
  reports: {image: "localhost/digitline:jobs"}
  retrain: {image: "localhost/digitline:jobs"}
  console: {image: "localhost/digitline:jobs"}
  erase: {image: "localhost/digitline:jobs"}
  mlflow: {image: "localhost/digitline:jobs"}
Y
}

COMPOSE="docker-compose --project-name digitline --project-directory $STACK/project
  --file $STACK/project/compose.yaml --file $STACK/project/ours.yaml"
compose() { $COMPOSE "$@"; }

stop() {
  compose down --volumes --timeout 40 > "$STACK/down.log" 2>&1 || tail -5 "$STACK/down.log"
  kill "$(cat "$STACK/dockerd.pid")"
  wait
}

install_tools
start_engine
trap stop EXIT
for image in localhost/digitline:test localhost/digitline:jobs docker.io/library/python:3.11-slim; do
  load_image "$image"
done
build_stand_ins
make_project
compose up --detach --no-build "${SERVICES[@]}"
compose ps
DIGITLINE_COMPOSE=$COMPOSE DIGITLINE_STACK_KEY=$(cat "$STACK/key") \
  DIGITLINE_STACK_OFFICE_KEY=$(cat "$STACK/office-key") PYTHONPATH=. \
  "${PYTHON:-python3}" -m pytest -q -s --no-header tests/image/test_stack.py \
  || { compose ps; compose logs --tail 20; exit 1; }
