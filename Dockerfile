# hv serve in a container. Untested: nobody here could build it.
#   docker build -t hematovision .
#   docker run --read-only --tmpfs /tmp -e HV_TOKEN=… -p 127.0.0.1:8000:8000 hematovision
FROM python:3.12-slim
WORKDIR /srv
COPY pyproject.toml README.md LICENSE ./
COPY hv_utils hv_utils
RUN pip install --no-cache-dir ".[serve]"
USER nobody
EXPOSE 8000
STOPSIGNAL SIGTERM
# 0.0.0.0 is the container's own network; without HV_TOKEN it refuses to start.
CMD ["hv", "serve", "--host", "0.0.0.0"]
