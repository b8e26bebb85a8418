#!/bin/sh
# kafka_cds.sh LIBS JRE OUT: in private mount and network namespaces, run a broker and a tool at the image's paths and write the
# classes which they loaded to OUT/kafka.jsa.
set -eu
libs=$1 jre=$2 out=$3
opt=$out/opt
mkdir "$opt"
mount -t tmpfs tmpfs "$opt"
mkdir -p "$opt/kafka/libs" "$opt/java/openjdk" "$opt/out"
mount --bind "$libs" "$opt/kafka/libs"
mount --bind "$jre" "$opt/java/openjdk"
mount --bind "$out" "$opt/out"
mount --rbind "$opt" /opt
ip link set lo up
work=/opt/work
mkdir "$work"
for jar in /opt/kafka/libs/*; do CLASSPATH=${CLASSPATH:+$CLASSPATH:}$jar; done
export CLASSPATH
java="/opt/java/openjdk/bin/java -Xmx256m -XX:+UseSerialGC"
cat > $work/log4j2.yaml <<LOG
Configuration: {Appenders: {Console: {name: C, PatternLayout: {pattern: "%m%n"}}}, Loggers: {Root: {level: INFO, AppenderRef: {ref: C}}}}
LOG
cat > $work/server.properties <<P
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
$java kafka.tools.StorageTool format --standalone --cluster-id=5L6g3nShT-eMCtK--X86sw --config=$work/server.properties
$java -XX:ArchiveClassesAtExit=/opt/out/kafka.jsa -Dlog4j2.configurationFile=$work/log4j2.yaml kafka.Kafka $work/server.properties > $work/broker.log 2>&1 &
broker=$!
tries=0
until grep -q 'Kafka Server started' $work/broker.log; do
  tries=$((tries + 1))
  if [ $tries -gt 600 ] || ! kill -0 $broker 2>/dev/null; then cat $work/broker.log; exit 1; fi
  sleep 0.1
done
$java org.apache.kafka.tools.TopicCommand --bootstrap-server 127.0.0.1:9092 --create --topic warm --partitions 3
seq 1000 | $java org.apache.kafka.tools.ConsoleProducer --bootstrap-server 127.0.0.1:9092 --topic warm
$java org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server 127.0.0.1:9092 --topic warm --from-beginning --max-messages 1000 >/dev/null
kill $broker
wait $broker || true
tail -3 $work/broker.log
cd /
umount -l /opt "$opt"
rmdir "$opt"
[ -s "$out/kafka.jsa" ]
