# docker build --file deploy/images/worker.Dockerfile --tag bharatmart-worker:0.1.0 .
# For both kinds of processors: docker buildx build --platform linux/amd64,linux/arm64 …

ARG RUST_IMAGE=docker.io/library/rust:1.95.0-bookworm
# glibc and the public certificate authorities, no shell; its user `nonroot` is 65532.
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# Always runs on the machine's own processor and compiles for the other one, which is many times faster than emulating it.
# Up to its last stage this file is the same for the API and the worker, so that a builder does it once for both.
FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS toolchain
ARG CARGO_CHEF_VERSION=0.1.78
# The toolchain of the image, which rust-toolchain.toml names too, without the parts that only developers need.
ENV RUSTUP_TOOLCHAIN=1.95.0 SQLX_OFFLINE=true \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc
RUN cargo install cargo-chef --locked --version "$CARGO_CHEF_VERSION"
WORKDIR /source

# What the dependencies are, without the sources that use them.
FROM toolchain AS recipe
COPY . .
RUN cargo chef prepare --recipe-path /recipe.json

FROM toolchain AS build
ARG TARGETARCH
# hadolint ignore=DL3008
RUN set -eu; \
    case "$TARGETARCH" in \
        amd64) processor=x86_64 compiler=gcc-x86-64-linux-gnu ;; \
        arm64) processor=aarch64 compiler=gcc-aarch64-linux-gnu ;; \
        *) echo "TARGETARCH is $TARGETARCH; allowed are amd64 and arm64" >&2; exit 1 ;; \
    esac; \
    echo "$processor-unknown-linux-gnu" > /target; \
    if [ "$(uname -m)" != "$processor" ]; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends "$compiler" "libc6-dev-$TARGETARCH-cross"; \
        rm -rf /var/lib/apt/lists/*; \
        rustup target add "$(cat /target)"; \
    fi
# The dependencies are a layer of their own, compiled again only when they change.
COPY --from=recipe /recipe.json /recipe.json
RUN cargo chef cook --release --locked --target "$(cat /target)" --recipe-path /recipe.json \
    --bin bharatmart-api --bin bharatmart-worker
COPY . .
RUN set -eu; \
    cargo build --release --locked --target "$(cat /target)" --bin bharatmart-api --bin bharatmart-worker; \
    install -D --target-directory /programs "target/$(cat /target)/release/bharatmart-api" \
        "target/$(cat /target)/release/bharatmart-worker"

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="BharatMart worker" \
      org.opencontainers.image.description="Does the jobs of the BharatMart shop, those of WORKER_TYPE" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /programs/bharatmart-worker /usr/local/bin/bharatmart-worker
# Numbers, by which Kubernetes sees that it is not root. Nothing is written: the root may be read-only.
USER 65532:65532
# Metrics and probes.
EXPOSE 9090
# Asks the process on METRICS_PORT; start-period for a first start beside everything else.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/usr/local/bin/bharatmart-worker", "healthcheck"]
# SIGTERM, the default signal, makes it drain: give it longer than SHUTDOWN_TIMEOUT (docker stop --time 40).
ENTRYPOINT ["/usr/local/bin/bharatmart-worker"]
