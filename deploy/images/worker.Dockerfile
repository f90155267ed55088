# docker build --file deploy/images/worker.Dockerfile --tag bharatmart-worker:0.1.0 .
# For both kinds of processors: docker buildx build --platform linux/amd64,linux/arm64 …

ARG RUST_IMAGE=docker.io/library/rust:1.95.0-bookworm
# glibc and the public certificate authorities, no shell; its user `nonroot` is 65532.
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# Always runs on the machine's own processor and compiles for the other one, which is many times faster than emulating it.
FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS build
ARG TARGETARCH
SHELL ["/bin/sh", "-euc"]
# The toolchain of the image, which rust-toolchain.toml names too, without the parts that only developers need.
ENV RUSTUP_TOOLCHAIN=1.95.0 SQLX_OFFLINE=true \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc
# hadolint ignore=DL3008
RUN case "$TARGETARCH" in \
        amd64) processor=x86_64 compiler=gcc-x86-64-linux-gnu ;; \
        arm64) processor=aarch64 compiler=gcc-aarch64-linux-gnu ;; \
        *) echo "TARGETARCH is $TARGETARCH; allowed are amd64 and arm64" >&2; exit 1 ;; \
    esac; \
    echo "$processor" > /processor; \
    if [ "$(uname -m)" != "$processor" ]; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends "$compiler" "libc6-dev-$TARGETARCH-cross"; \
        rm -rf /var/lib/apt/lists/*; \
        rustup target add "$processor-unknown-linux-gnu"; \
    fi
WORKDIR /source
COPY . .
# The dependencies stay compiled in the cache, and are compiled again only when they change.
RUN --mount=type=cache,id=bharatmart-cargo,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=bharatmart-target,target=/source/target,sharing=locked \
    target="$(cat /processor)-unknown-linux-gnu"; \
    cargo build --release --locked --target "$target" --bin bharatmart-worker; \
    install -D "target/$target/release/bharatmart-worker" /programs/bharatmart-worker

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
