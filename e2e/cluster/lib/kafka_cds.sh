#!/bin/sh
# kafka_cds.sh LIBS JRE OUT: run a broker and its tools once, at the cache's paths and at the image's, and write the classes which the
# broker loaded to OUT/host.jsa and OUT/kafka.jsa (an archive holds for one class path only). Runs in private mount and network
# namespaces, so its ports and its /opt meet nobody else's.
set -eu
libs=$1 jre=$2 out=$3
ip link set lo up

archive() {         # LIBS JRE FILE
  work=$(mktemp -d "$out/work-XXXXXX")
  CLASSPATH=
  for jar in "$1"/*; do CLASSPATH=${CLASSPATH:+$CLASSPATH:}$jar; done
  export CLASSPATH
  java="$2/bin/java -Xmx256m -XX:+UseSerialGC"
  cat > "$work/log4j2.yaml" <<LOG
Configuration: {Appenders: {Console: {name: C, PatternLayout: {pattern: "%m%n"}}}, Loggers: {Root: {level: INFO, AppenderRef: {ref: C}}}}
LOG
  cat > "$work/server.properties" <<P
process.roles=broker,controller
node.id=0
controller.quorum.bootstrap.servers=127.0.0.1:9093
listeners=INTERNAL://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
controller.listener.names=CONTROLLER
inter.broker.listener.name=INTERNAL
listener.security.protocol.map=CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT
log.dirs=$work/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
P
  $java kafka.tools.StorageTool format --standalone --cluster-id=5L6g3nShT-eMCtK--X86sw "--config=$work/server.properties"
  $java "-XX:ArchiveClassesAtExit=$3" "-Dlog4j2.configurationFile=$work/log4j2.yaml" kafka.Kafka "$work/server.properties" > "$work/log" 2>&1 &
  broker=$!
  tries=0
  until grep -q 'Kafka Server started' "$work/log"; do
    tries=$((tries + 1))
    if [ $tries -gt 900 ] || ! kill -0 $broker 2>/dev/null; then cat "$work/log"; exit 1; fi
    sleep 0.1
  done
  tools=org.apache.kafka.tools
  $java $tools.TopicCommand --bootstrap-server 127.0.0.1:9092 --create --topic warm --partitions 3
  seq 1000 | $java $tools.ConsoleProducer --bootstrap-server 127.0.0.1:9092 --topic warm
  $java $tools.consumer.ConsoleConsumer --bootstrap-server 127.0.0.1:9092 --topic warm --from-beginning --max-messages 1000 >/dev/null
  kill $broker
  wait $broker || true
  tail -n 3 "$work/log"
  [ -s "$3" ]
  rm -rf "$work"
}

archive "$libs" "$jre" "$out/host.jsa"
opt=$out/opt
mkdir "$opt"
mount -t tmpfs tmpfs "$opt"
mkdir -p "$opt/kafka/libs" "$opt/java/openjdk"
mount --bind "$libs" "$opt/kafka/libs"
mount --bind "$jre" "$opt/java/openjdk"
mount --rbind "$opt" /opt
archive /opt/kafka/libs /opt/java/openjdk "$out/kafka.jsa"
cd /
umount -l /opt "$opt"
rmdir "$opt"
