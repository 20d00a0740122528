# steerscope serve on a CPU: docker compose up, then http://127.0.0.1:8017/
FROM python:3.12-slim

RUN useradd --create-home steerscope
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY steerscope steerscope
COPY data data
# That index has torch; what torch needs, in the versions of the constraints, comes from PyPI.
RUN pip install --no-cache-dir --no-deps --constraint constraints.txt \
        --index-url https://download.pytorch.org/whl/cpu torch \
    && pip install --no-cache-dir --constraint constraints.txt ".[serve]"

USER steerscope
ENV PYTHONUNBUFFERED=1
EXPOSE 8017
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8017/health', timeout=4)"]
# Within a container every address is one that others reach, so that a key is needed: STEERSCOPE_API_KEY.
ENTRYPOINT ["steerscope", "serve", "--host", "0.0.0.0"]
