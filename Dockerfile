# The service on a CPU: `docker build -t depthcast .`, then see compose.yaml.
# FFmpeg comes inside PyAV's wheel, so the system needs nothing besides Python.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY depthcast depthcast
COPY engines engines
COPY export export
COPY stream stream
# Empty: what runs nano and exported networks. export: torch too, for official weights; some gigabytes.
ARG EXTRAS=""
RUN python -m venv /opt/depthcast \
 && /opt/depthcast/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt \
    ".${EXTRAS:+[$EXTRAS]}"

FROM python:${PYTHON}-slim
COPY --from=build /opt/depthcast /opt/depthcast
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin depthcast \
 && install --directory --owner=depthcast --group=depthcast /data
ENV PATH=/opt/depthcast/bin:$PATH \
    DEPTHCAST_HOME=/data \
    TMPDIR=/data \
    PYTHONUNBUFFERED=1
USER depthcast
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
# Reached from outside, it starts only with a key: DEPTHCAST_API_KEY, or one that `depthcast keys add NAME` made.
ENTRYPOINT ["depthcast"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]
