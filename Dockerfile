# A search on CPUs: docker build -t tenslora-search . && docker run -v "$PWD/runs:/runs" tenslora-search --budget 20k --task digits --out /runs/digits
# On GPUs, give a base with CUDA (--build-arg BASE=pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime) and run with --gpus all.
ARG BASE=python:3.11-slim
FROM ${BASE}
WORKDIR /app
COPY . .
RUN pip install --no-cache-dir -c constraints.txt '.[minilm]'
ENV OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0
ENTRYPOINT ["tenslora-search"]
