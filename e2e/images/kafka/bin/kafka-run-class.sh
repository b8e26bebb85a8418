#!/bin/sh
# Runs a class of Kafka's jars, honouring the variables of the stock script that people use: KAFKA_HEAP_OPTS, KAFKA_OPTS,
# KAFKA_JVM_PERFORMANCE_OPTS, KAFKA_LOG4J_OPTS, CLASSPATH.
set -e
base=$(cd "$(dirname "$0")/.." && pwd)
: "${KAFKA_HEAP_OPTS=-Xmx256M}"
: "${KAFKA_JVM_PERFORMANCE_OPTS=-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:SharedArchiveFile=$base/kafka.jsa -Xshare:auto}"
: "${KAFKA_LOG4J_OPTS=-Dlog4j2.configurationFile=$base/config/tools-log4j2.yaml}"
# Each jar by name and sorted, as the stock script does: a class-data archive is used only with the class path it was made with.
for jar in "$base"/libs/*; do CLASSPATH=${CLASSPATH:+$CLASSPATH:}$jar; done
export CLASSPATH
# The options are lists of words, so they are not quoted.
exec "${JAVA_HOME:-/opt/java/openjdk}/bin/java" $KAFKA_HEAP_OPTS $KAFKA_JVM_PERFORMANCE_OPTS $KAFKA_LOG4J_OPTS $KAFKA_OPTS "$@"
