# docker build --file deploy/images/frontend.Dockerfile --tag bharatmart-frontend:0.1.0 .
# For both kinds of processors: docker buildx build --platform linux/amd64,linux/arm64 …

ARG NODE_IMAGE=docker.io/library/node:22.12.0-bookworm-slim
ARG BASE_IMAGE=docker.io/library/nginx:1.28.0-alpine-slim

# What it makes is the same for every processor.
FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS build
WORKDIR /source/frontend
# The packages are a layer of their own, made again only when they change.
COPY frontend/package.json frontend/package-lock.json frontend/.npmrc ./
RUN --mount=type=cache,id=bharatmart-npm,target=/root/.npm npm ci --ignore-scripts
COPY frontend/ ./
RUN npm run build

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="BharatMart storefront" \
      org.opencontainers.image.description="The pages of the BharatMart shop from nginx, with the API behind /api" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY deploy/nginx/nginx.conf deploy/nginx/bharatmart.conf /etc/bharatmart/
COPY --chmod=755 deploy/images/frontend-entrypoint.sh /usr/local/bin/frontend-entrypoint
COPY --from=build /source/frontend/dist /opt/bharatmart/frontend
# The entrypoint writes it from API_URL; all that is written goes to /tmp, and the root may be read-only.
RUN ln -sf /tmp/bharatmart/config.json /opt/bharatmart/frontend/config.json
USER 10101:10101
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["wget", "--quiet", "--output-document=/dev/null", "http://127.0.0.1:8080/"]
# nginx answers what has begun and takes nothing new.
STOPSIGNAL SIGQUIT
ENTRYPOINT ["/usr/local/bin/frontend-entrypoint"]
