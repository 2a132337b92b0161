# docker build -t longlora . && docker run --rm -v "$PWD:/work" longlora --help
FROM debian:12-slim AS build
WORKDIR /src
COPY . .
RUN ./quickstart.sh --build-only
RUN cmake --install build/release --prefix /opt/longlora --strip && \
    cmake --install build/release --prefix /opt/longlora --component system_libraries

FROM debian:12-slim
RUN apt-get update && \
    apt-get install -y --no-install-recommends gnuplot-nox libstdc++6 && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/longlora /opt/longlora
ENV PATH=/opt/longlora/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /work
ENTRYPOINT ["longlora"]
