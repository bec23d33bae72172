# One image a program: docker build --target events .
#
#   events | hoard | syncomatic    the services
#   local-cloud                    an emulated AWS, for development
#   local                          the whole pipeline in one container, and what docker-compose.yml prepares with
#
# Nothing in them but the program, the C library and the certificates of authorities. They run as user
# 65532, write to /var/lib/pipeline and nowhere else, and live with a read-only root.

ARG RUST_IMAGE=rust:1.95-slim-bookworm
# glibc of Debian 12, certificates, no shell. It keeps dpkg's records, for scanners to read.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot
# Where the programs come from: the stage `build`, or an image that has them in /out already.
ARG BINARIES=build

# Dependencies change seldom and take most of the time: they are a layer of their own, which lasts as long
# as Cargo.toml and Cargo.lock say the same.
FROM ${RUST_IMAGE} AS tools
RUN cargo install --locked cargo-chef cargo-auditable
WORKDIR /src

FROM tools AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM tools AS build
COPY --from=plan /src/recipe.json .
RUN cargo chef cook --release --locked --workspace --bins --recipe-path recipe.json
COPY . .
# `auditable` writes the list of dependencies into each program: `cargo audit bin`, syft and trivy read it.
RUN cargo auditable build --release --locked --workspace --bins
RUN mkdir -p /out/empty \
    && cd target/release \
    && strip --strip-debug events hoard syncomatic local local-cloud \
    && cp events hoard syncomatic local local-cloud /out/

FROM ${BINARIES} AS binaries

FROM ${RUNTIME_IMAGE} AS runtime
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.vendor="The event pipeline" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=binaries --chown=65532:65532 /out/empty /var/lib/pipeline
USER 65532:65532
WORKDIR /var/lib/pipeline

FROM runtime AS events
LABEL org.opencontainers.image.title="events" \
      org.opencontainers.image.description="Takes events over HTTP, checks them and sends them on to Kinesis"
COPY --from=binaries /out/events /usr/local/bin/events
EXPOSE 8080 9601
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/events", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/events"]

FROM runtime AS hoard
LABEL org.opencontainers.image.title="hoard" \
      org.opencontainers.image.description="Archives a Kinesis stream in S3, each record exactly once"
COPY --from=binaries /out/hoard /usr/local/bin/hoard
EXPOSE 9602
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/hoard", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/hoard"]

FROM runtime AS syncomatic
LABEL org.opencontainers.image.title="syncomatic" \
      org.opencontainers.image.description="Copies new objects to a bucket in another AWS partition"
COPY --from=binaries /out/syncomatic /usr/local/bin/syncomatic
EXPOSE 9603
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/syncomatic", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/syncomatic"]

FROM runtime AS local-cloud
LABEL org.opencontainers.image.title="local-cloud" \
      org.opencontainers.image.description="An emulated AWS (Kinesis, S3, SQS) for development"
COPY --from=binaries /out/local-cloud /usr/local/bin/local-cloud
EXPOSE 4566 4567
ENTRYPOINT ["/usr/local/bin/local-cloud"]

FROM runtime AS local
LABEL org.opencontainers.image.title="local" \
      org.opencontainers.image.description="The whole event pipeline over an emulated AWS, for development"
COPY --from=binaries /out/local /usr/local/bin/local
ENV LOCAL_LISTEN_IP=0.0.0.0 LOCAL_DATA_FOLDER=/var/lib/pipeline LOCAL_ADMIN_LISTEN=0.0.0.0:9600
EXPOSE 8080 9600 9601 9602 9603 4566 4567
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/local", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/local"]
