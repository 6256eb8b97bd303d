# Two images, each of one static program and nothing else, for whatever architecture they are built on:
#
#   docker build --target node-agent --tag tocsin/node-agent:0.1.0 .
#   docker build --target aggregator --tag tocsin/aggregator:0.1.0 .
#
# Where there is neither an engine nor a registry, `make images` makes the same two: it builds the programs with the same
# flags (tests/src/processes/build.rs) and reads the stages that are `FROM scratch` (tests/src/images/dockerfile.rs).

FROM rust:1.95-bookworm AS build
WORKDIR /tocsin
COPY . .
# The flags go with --target, or build scripts and macros would get them, too, and these cannot be static. The prefixes keep
# this machine's folders out of the programs, so that the same sources give the same bytes.
RUN set -e; \
    target=$(rustc --version --verbose | sed -n 's/^host: //p'); \
    export RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$CARGO_HOME=/cargo --remap-path-prefix=$PWD=/tocsin"; \
    cargo build --locked --target "$target" --profile release-agent --package tocsin-node-agent; \
    cargo build --locked --target "$target" --profile release --package tocsin-aggregator; \
    mkdir /programs; \
    cp "target/$target/release-agent/tocsin-node-agent" "target/$target/release/tocsin-aggregator" /programs/

FROM scratch AS node-agent
COPY --from=build /programs/tocsin-node-agent /tocsin-node-agent
USER 65532:65532
ENTRYPOINT ["/tocsin-node-agent"]

FROM scratch AS aggregator
COPY --from=build /programs/tocsin-aggregator /tocsin-aggregator
USER 65532:65532
ENTRYPOINT ["/tocsin-aggregator"]
