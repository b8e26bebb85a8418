#!/bin/sh
# Runs a class of Kafka's jars, honouring the variables of the stock script that people use: KAFKA_HEAP_OPTS, KAFKA_OPTS,
# KAFKA_JVM_PERFORMANCE_OPTS, KAFKA_LOG4J_OPTS, CLASSPATH.
set -e
base=$(dirname "$0")/..
: "${KAFKA_HEAP_OPTS=-Xmx256M}"
: "${KAFKA_JVM_PERFORMANCE_OPTS=-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto}"
: "${KAFKA_LOG4J_OPTS=-Dlog4j2.configurationFile=$base/config/tools-log4j2.yaml}"
# The options are lists of words, so they are not quoted; -f keeps the shell from expanding the * of the class path.
set -f
exec "${JAVA_HOME:-/opt/java/openjdk}/bin/java" $KAFKA_HEAP_OPTS $KAFKA_JVM_PERFORMANCE_OPTS $KAFKA_LOG4J_OPTS $KAFKA_OPTS \
  -cp "${CLASSPATH:+$CLASSPATH:}$base/libs/*" "$@"
