# The exporter in an image that holds nothing else: no shell, no package manager, a user without rights.
#
#   docker build -t agent-session-exporter .
#   docker run --rm -p 127.0.0.1:17377:17377 agent-session-exporter demo
#
# Its store is /var/lib/agent-session-exporter: put a volume there. When it is stopped it sends and answers what waits,
# which may take 20 s: give it 30 (docker stop -t 30).

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build

# What it depends on, built with nothing of ours: this layer stays until one of these files changes. Benches are not
# built; cargo wants to see that they are there.
COPY Cargo.toml Cargo.lock ./
COPY benches benches
RUN mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --bin agent-session-exporter

COPY src src
COPY config/prometheus/agent-sessions.rules.yml config/prometheus/
COPY docs/runbooks docs/runbooks
COPY dashboards dashboards
# Which revision this is, for agent_session_exporter_build_info.
ARG ASE_REVISION=unknown
# Cargo goes by times: what was copied must be newer than what was built before.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin agent-session-exporter \
    && mkdir /store

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/agent-session-exporter /usr/local/bin/
COPY --from=build --chown=65532:65532 /store /var/lib/agent-session-exporter
USER 65532:65532
ENV ASE_STORAGE_PATH=/var/lib/agent-session-exporter
VOLUME /var/lib/agent-session-exporter
EXPOSE 17377
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s \
    CMD ["/usr/local/bin/agent-session-exporter", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/agent-session-exporter"]
CMD ["serve"]
