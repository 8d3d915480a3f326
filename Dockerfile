# The course in a container: JupyterLab for one person, or grading.
#
#   docker build -t attnlab-image --build-arg TORCH_INDEX=INDEX .
#   docker run --rm -p 127.0.0.1:8888:8888 -v "$PWD/my-course:/home/learner/course" attnlab-image
#
# INDEX is the one for the CPU on https://pytorch.org/get-started/locally/. Without the argument pip
# takes its default, which on Linux is the build for CUDA and gigabytes larger; run it with
# --gpus all. docs/teachers.md says how to grade with this image.
#
# The data sets are in the image: read data/README.md before you hand it on.

FROM python:3.11.14-slim-bookworm AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY attnlab attnlab
COPY notebooks notebooks
COPY data data
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.11.14-slim-bookworm
ARG TORCH_INDEX=""
ARG EXTRAS="lab,grading"
COPY constraints.txt /tmp/build/
COPY --from=wheel /wheel /tmp/build/wheel
RUN pip install --no-cache-dir -c /tmp/build/constraints.txt \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
      "$(echo /tmp/build/wheel/*.whl)[$EXTRAS]" \
 && rm -r /tmp/build

# JupyterLab must be reached from outside the container; its token stays
RUN mkdir -p /usr/local/etc/jupyter \
 && echo '{"ServerApp": {"ip": "0.0.0.0"}}' > /usr/local/etc/jupyter/jupyter_server_config.json

# the data, for everybody to read, whoever the container runs as
ENV ATTNLAB_CACHE=/opt/attnlab/cache
RUN attnlab fetch && chmod -R a+rX /opt/attnlab

RUN useradd --create-home --uid 1000 learner
USER learner
WORKDIR /home/learner
EXPOSE 8888
CMD ["sh", "-c", "attnlab start course && exec attnlab lab --folder course --no-browser"]
