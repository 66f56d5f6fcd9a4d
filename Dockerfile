# Histoseek's page and API. The index and the slides are mounted; nothing is fetched when it runs.
#
#   docker build -t histoseek .
#   mkdir keys && sudo chown 10001 keys
#   docker run --rm -v "$PWD/keys:/keys" histoseek keys add /keys/keys.json --role read
#   docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 \
#     -v "$PWD/x.index:/index:ro" -v "$PWD/slides:/slides:ro" -v "$PWD/keys:/keys:ro" -v histoseek-state:/state histoseek

FROM python:3.13-slim AS wheel
WORKDIR /source
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
COPY --from=wheel /wheels /wheels
RUN python -m pip install --no-cache-dir "$(ls /wheels/*.whl)[web,slides,scale]" && rm -r /wheels \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin histoseek \
 && install -d -o 10001 -g 10001 /state
USER 10001
ENV HISTOSEEK_CACHE=/state HOME=/tmp PYTHONUNBUFFERED=1
VOLUME /state
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/api/v1/healthz', timeout=4)"]
ENTRYPOINT ["histoseek"]
CMD ["serve", "/index", "--root", "/slides", "--host", "0.0.0.0", "--port", "8000", "--api-key-file", "/keys/keys.json", "--audit-log", "/state/audit.jsonl"]
