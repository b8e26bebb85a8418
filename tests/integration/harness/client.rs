//! What tests do with librdkafka: produce, and the changes that the product never makes.

use super::wait::PATIENCE;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tributary::kafka::KafkaConnection;
use tributary::kafka::wire::{Admin, ConfigChange, CreatedTopic, NewTopic, TopicConfigChange, Topics};

/// A producer with acks from all replicas.
pub(crate) fn producer(connection: &KafkaConnection) -> FutureProducer {
    connection
        .client_config()
        .set("acks", "all")
        .set("linger.ms", "0")
        .create()
        .expect("a producer")
}

/// A transactional producer, ready for its first transaction.
pub(crate) async fn transactional(connection: &KafkaConnection, id: &str) -> FutureProducer {
    let mut config = connection.client_config();
    config
        .set("transactional.id", id)
        .set("transaction.timeout.ms", "60000");
    let producer: FutureProducer = config.create().expect("a producer");
    blocking(producer.clone(), |producer| producer.init_transactions(PATIENCE)).await;
    producer
}

/// A call of librdkafka that blocks.
pub(crate) async fn blocking<T: Send + 'static>(
    producer: FutureProducer,
    call: impl FnOnce(&FutureProducer) -> rdkafka::error::KafkaResult<T> + Send + 'static,
) -> T {
    tokio::task::spawn_blocking(move || call(&producer))
        .await
        .expect("no panic")
        .expect("the call succeeds")
}

/// Writes one record and waits until it is acknowledged. Returns its offset.
pub(crate) async fn produce(
    producer: &FutureProducer,
    topic: &str,
    partition: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> i64 {
    let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).partition(partition);
    record.key = key;
    record.payload = value;
    let delivery = producer.send(record, PATIENCE).await;
    delivery
        .unwrap_or_else(|(error, _)| panic!("{topic}-{partition}: {error}"))
        .offset
}

/// Creates a topic with this many partitions and these settings, and waits until it has leaders. A broker that is
/// fenced, for its disk stood still longer than its session, takes none: that is waited for too.
pub(crate) async fn create_topic(
    admin: &Admin,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> CreatedTopic {
    let configs = configs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let topic = NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: -1,
        configs,
    };
    let created = super::wait::eventually(&format!("brokers for {name}"), PATIENCE, async || {
        let mut results = admin
            .create_topics(std::slice::from_ref(&topic), false)
            .await
            .expect("an answer");
        match results.remove(name).expect("a result") {
            Err(error) if error.to_string().contains("fenced") => Err(error.to_string()),
            result => Ok(result.unwrap_or_else(|error| panic!("{name}: {error}"))),
        }
    })
    .await;
    super::wait::eventually(&format!("leaders of {name}"), PATIENCE, || leaders(admin, name)).await;
    created
}

/// Gives a topic this many partitions, and waits until all have leaders.
pub(crate) async fn grow_topic(admin: &Admin, name: &str, partitions: i32) {
    let wanted = [(name.to_owned(), partitions)].into();
    let mut grown = admin.create_partitions(&wanted, false).await.expect("an answer");
    grown
        .remove(name)
        .expect("a result")
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    super::wait::eventually(
        &format!("{partitions} partitions of {name}"),
        PATIENCE,
        || async {
            leaders(admin, name).await?;
            let metadata = admin.metadata(Topics::Named(vec![name.to_owned()])).await;
            let topics = metadata.map_err(|error| error.to_string())?.topics;
            match topics.get(name) {
                Some(Ok(topic)) if i32::try_from(topic.partitions.len()) == Ok(partitions) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;
}

async fn leaders(admin: &Admin, name: &str) -> Result<(), String> {
    let metadata = admin.metadata(Topics::Named(vec![name.to_owned()])).await;
    let mut topics = metadata.map_err(|error| error.to_string())?.topics;
    let topic = topics
        .remove(name)
        .ok_or("no such topic")?
        .map_err(|error| error.to_string())?;
    let led = topic
        .partitions
        .values()
        .all(|partition| partition.leader.is_some());
    if led { Ok(()) } else { Err("none yet".into()) }
}

fn rdkafka_admin(connection: &KafkaConnection) -> AdminClient<DefaultClientContext> {
    connection.client_config().create().expect("an admin client")
}

/// Deletes a topic and waits until no broker names it any more.
pub(crate) async fn delete_topic(connection: &KafkaConnection, topic: &str) {
    let results = rdkafka_admin(connection)
        .delete_topics(&[topic], &options())
        .await
        .expect("an answer");
    for result in results {
        result.unwrap_or_else(|(topic, error)| panic!("{topic}: {error}"));
    }
    let admin = Admin::new(connection).expect("an admin client");
    super::wait::until(&format!("{topic} to be gone"), PATIENCE, || async {
        let topics = Topics::Named(vec![topic.to_owned()]);
        admin
            .metadata(topics)
            .await
            .is_ok_and(|metadata| metadata.topics.values().all(Result::is_err))
    })
    .await;
}

/// Deletes a partition's records below an offset. Kafka refuses it for a topic that is compacted only.
pub(crate) async fn delete_records(
    connection: &KafkaConnection,
    topic: &str,
    partition: i32,
    before: i64,
) -> Result<(), String> {
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset(topic, partition, Offset::Offset(before))
        .expect("an offset");
    let result = rdkafka_admin(connection)
        .delete_records(&offsets, &options())
        .await;
    let result = result.map_err(|error| error.to_string())?;
    result
        .elements()
        .iter()
        .try_for_each(rdkafka::topic_partition_list::TopicPartitionListElem::error)
        .map_err(|error| error.to_string())
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(PATIENCE))
        .request_timeout(Some(PATIENCE))
}

/// Bytes that no codec makes smaller: what counts for Kafka is the size as it is stored.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(size)
    .collect()
}

/// Sets one setting of a topic.
pub(crate) async fn set_config(admin: &Admin, topic: &str, name: &str, value: &str) {
    let changes = [(name.to_owned(), ConfigChange::Set(value.to_owned()))].into();
    let change = TopicConfigChange {
        topic: topic.to_owned(),
        changes,
    };
    let results = admin.incremental_alter_configs(&[change], false).await.unwrap();
    results[topic].clone().unwrap();
}
