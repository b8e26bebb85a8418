#!/bin/sh
# kafka-server-start.sh server.properties [--override name=value]…
[ $# -gt 0 ] || { echo "usage: $0 server.properties [--override name=value]…" >&2; exit 1; }
base=$(cd "$(dirname "$0")/.." && pwd)
export KAFKA_HEAP_OPTS="${KAFKA_HEAP_OPTS--Xmx512M -Xms256M}"
export KAFKA_JVM_PERFORMANCE_OPTS="${KAFKA_JVM_PERFORMANCE_OPTS--XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -XX:SharedArchiveFile=$base/kafka.jsa -Xshare:auto}"
export KAFKA_LOG4J_OPTS="${KAFKA_LOG4J_OPTS--Dlog4j2.configurationFile=$base/config/log4j2.yaml}"
exec "$(dirname "$0")/kafka-run-class.sh" kafka.Kafka "$@"
