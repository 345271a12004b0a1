# The service's image: the hash-locked serving set, the champion and our code; nothing else.
# Built and run by `make image-test`. Works on amd64 and arm64; nothing here names either.
FROM python:3.11-slim AS build
WORKDIR /srv/digitline
COPY requirements-serving.txt ./
# No pip in the venv (the image never installs anything), and no bytecode yet: the warm start below
# writes it for the modules that a serving process really imports, which saves 50 MB, and for the
# standard library's, which slim images come without. Left out: tests, C sources, and the 29 MB
# library for C programs, which the Python binding does not use.
RUN python -m venv --without-pip venv \
 && pip --python venv/bin/python install --quiet --no-cache-dir --no-compile --require-hashes \
      -r requirements-serving.txt \
 && find venv -type d \( -name tests -o -name testing \) ! -path '*/numpy/*' -prune -exec rm -rf {} + \
 && find venv -type f \( -name '*.c' -o -name '*.cpp' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' \
      -o -name '*.pyi' -o -name '*.a' \) -delete \
 && find venv -path '*/numpy/*' -type d -name tests -prune -exec rm -rf {} + \
 && rm -rf venv/lib/python3.11/site-packages/onnxruntime/transformers \
      venv/lib/python3.11/site-packages/onnxruntime/tools \
      venv/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so*
COPY service.py ./
COPY serving serving
COPY contract contract
COPY model model
COPY capture/__init__.py capture/codec.py capture/fields.py capture/record.py capture/segments.py capture/spool.py \
     capture/
# The image is proved to start before it exists: the build fails where the service would.
ENV PATH=/srv/digitline/venv/bin:$PATH PYTHONPATH=/srv/digitline BENTOML_DO_NOT_TRACK=True \
    PYTHONPYCACHEPREFIX=/srv/digitline/bytecode BENTOML_HOME=/srv/build-home
COPY deploy/warm_start.py ./
RUN python warm_start.py && rm -rf warm_start.py requirements-serving.txt /srv/build-home

FROM python:3.11-slim
ARG MODEL_VERSION=unknown
ARG MODEL_SHA256=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Digitline" \
      org.opencontainers.image.description="Reads handwritten digits for postal sorting" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      digitline.model.version="${MODEL_VERSION}" \
      digitline.model.sha256="${MODEL_SHA256}"
# The one writable folder; /tmp may be mounted too, but nothing needs it.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/digitline
COPY --from=build /srv/digitline /srv/digitline
WORKDIR /srv/digitline
ENV PATH=/srv/digitline/venv/bin:$PATH \
    PYTHONPATH=/srv/digitline \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/srv/digitline/bytecode \
    BENTOML_DO_NOT_TRACK=True \
    BENTOML_HOME=/var/lib/digitline/bentoml \
    TMPDIR=/var/lib/digitline \
    DIGITS_HOST=0.0.0.0 \
    DIGITS_PORT=3000
USER 10001:10001
VOLUME ["/var/lib/digitline"]
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['DIGITS_PORT'] + '/readyz', timeout=4)"]
CMD ["python", "-m", "serving"]
