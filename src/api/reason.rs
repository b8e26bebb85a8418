//! The reasons of conditions: one table for code, events and docs.

/// A condition's reason with what it means and what to do; `docs/` prints this table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonText {
    /// What happened.
    pub cause: &'static str,
    /// What a person can do about it.
    pub remedy: &'static str,
}

macro_rules! reasons {
    ($($name:ident: $cause:literal, $remedy:literal;)+) => {
        /// Why a condition has its status, in CamelCase as the Kubernetes API conventions ask.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $cause] $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name as it stands in conditions and events.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Cause and remedy for the documentation and `tributary explain`.
            #[must_use]
            pub const fn text(self) -> ReasonText {
                match self { $(Self::$name => ReasonText { cause: $cause, remedy: $remedy },)+ }
            }
        }
    };
}

reasons! {
    // All kinds.
    AsDesired: "Everything is as the spec asks.", "Nothing to do.";
    Starting: "The pods are starting or have not yet reported.", "Wait; after 10 minutes the object becomes Stalled with the reason at hand.";
    Progressing: "A change is being carried out.", "Wait; the message says which step is next.";
    Paused: "spec.paused is true.", "Set spec.paused to false to go on.";
    InvalidSpec: "The spec cannot work; the message names field, value, why and remedy. What runs goes on with the last spec that could work.", "Correct the named field.";
    SecretNotFound: "A referenced Secret or ConfigMap does not exist.", "Create it in the object's namespace; the operator goes on by itself.";
    SecretKeyNotFound: "A referenced Secret or ConfigMap has no such key, or its value is empty.", "Add the key; the operator goes on by itself.";
    CredentialsInvalid: "A referenced Secret or ConfigMap holds something that cannot be used: no PEM, no text.", "Correct its content; a changed Secret is picked up by itself.";
    ClusterNotFound: "clusterRef names an EdgeCluster that does not exist in this namespace.", "Correct clusterRef.name, or create the EdgeCluster.";
    ListenerNotFound: "clusterRef names a listener that the EdgeCluster does not have.", "Correct clusterRef.listener.";
    PodsUnavailable: "A pod cannot be scheduled or started; the message has Kubernetes' own reason.", "See the message: missing image, node resources, volume, quota or admission policy.";
    ApiError: "The Kubernetes API refused or did not answer a call.", "See the message; the operator tries again with back-off.";
    OwnershipConflict: "An object with the name the operator needs exists and belongs to someone else.", "Rename or remove the named object.";
    // Kafka.
    KafkaUnreachable: "No bootstrap server answered in time.", "Check address, DNS, NetworkPolicies and the line.";
    NotKafka: "The address answers something else than Kafka's protocol, or expects TLS where none is configured.", "Correct the bootstrap address or tls.mode.";
    KafkaAuthenticationFailed: "Kafka refused the credentials.", "Correct user, password, mechanism or certificate; a changed Secret is picked up by itself.";
    TlsFailed: "The TLS handshake failed: unknown CA, wrong name or expired certificate.", "Correct tls.ca or the server's certificate.";
    KafkaError: "Kafka answered with an error; the message has its code.", "See the message.";
    KafkaUnknown: "Kafka could not be asked, so nothing is known.", "Find out why the brokers do not answer.";
    // EdgeCluster.
    QuorumLost: "The KRaft quorum has no leader or no majority of caught-up voters.", "Bring the missing brokers back; nothing is restarted meanwhile.";
    PartitionsOffline: "Partitions have no leader.", "Bring the brokers that hold them back.";
    UnderReplicated: "Partitions have fewer in-sync replicas than replicas.", "Wait for recovery; see which broker is behind or down.";
    TopicRefused: "Kafka refuses a topic as the EdgeCluster describes it, or a link's topic cannot be carried.", "An EdgeCluster's status.topics has Kafka's words: correct spec.topics. A link's status.refused has the reason.";
    TopicsDiffer: "Topics or settings in Kafka are not what the spec says and cannot be changed to it.", "See status.topics.";
    IdentityMissing: "Volumes exist without the identity record that belongs to them.", "Restore the ConfigMap named in the message, or remove the volumes if their data may go.";
    IdentityMismatch: "Volumes and identity record do not belong together.", "See the message; nothing is formatted or started meanwhile.";
    VolumeRefused: "A broker found its volume empty, foreign or damaged and refuses to start.", "Follow the runbook 'A broker refuses its volume'.";
    RollWaiting: "A broker must restart for a change, but that is not proven safe now.", "See status.brokers[].waitingFor.";
    BrokerFailing: "A broker's container ends again and again; the message has its exit code and last words.", "See the message and the broker's log; a setting that Kafka refuses is mended by correcting spec.config.";
    VolumeNotGrown: "A broker's volume does not grow to storage.size; the message has Kubernetes' reason.", "Use a storage class that allows expansion, or set storage.size back.";
    DiskFull: "A broker's volume is full or nearly full.", "Free space: lower retention, or grow storage.size.";
    // BridgePipeline.
    MqttUnreachable: "No MQTT server could be reached.", "Check address, DNS, NetworkPolicies and the broker.";
    MqttAuthenticationFailed: "The MQTT broker refused the credentials.", "Correct user, password or certificate; a changed Secret is picked up by itself.";
    MqttRefused: "The MQTT broker refused the connection.", "See the message for its reason code.";
    MqttSessionTakenOver: "Another client uses the bridge's client ID and takes its session away.", "Stop the other client, or give it an ID of its own; spec.mqtt.clientId must be unique at the server.";
    SubscriptionRefused: "The MQTT broker refused a subscription or granted a lower quality of service.", "Allow the filter in the broker's access rules, or lower qos.";
    SessionLost: "The MQTT broker no longer had the bridge's session: what it queued meanwhile may be lost.", "Raise the broker's session expiry and persistence; see 'What a site must set'.";
    BrokerDroppedMessages: "The MQTT broker reports dropped messages.", "Raise the broker's queue limits; see 'What a site must set'.";
    PayloadTooLarge: "A payload exceeded Kafka's limit and went truncated to the dead-letter topic.", "Raise max.message.bytes of the topic, or make the device send less.";
    MessageRefused: "A message that no route accepts, and that cannot be dead-lettered, stands at the head and stops the bridge.", "Correct the routes, or set deadLetter; the message names it.";
    TopicMissing: "A Kafka topic that the object writes to does not exist.", "Create the topic.";
    // ReplicationLink.
    PositionsLost: "Positions of this link were seen before and are gone.", "Follow the runbook 'Positions lost'; nothing is replicated meanwhile.";
    PartitionStopped: "A partition cannot go on without losing or repeating data.", "See the message and the runbook 'A partition stopped'.";
    GapRecorded: "Source records are gone before they were replicated.", "See status.gaps for the exact range.";
    RecordsExpired: "The source deleted records before a position behind them was stored: unless they are on their way, they are lost.", "Raise the source's retention, and bring line and pods back; what did not arrive then stands in status.gaps.";
    LoopRefused: "A topic is fed from the link's own target: replicating it would loop.", "Exclude it by topics.deny, or use a prefix.";
    NameCollision: "A topic's name on the target is taken by another source or link.", "Use another prefix, or exclude one of them.";
    TopicNotCreated: "The target refuses to create a topic.", "See the message; often replicationFactor exceeds the target's brokers, or rights are missing.";
    NotConnected: "The link or bridge is not connected.", "See the message for side and cause.";
    Following: "Connected and following.", "Nothing to do.";
    FallingBehind: "The source grows faster than the link carries.", "More workers, a faster line, or less data.";
    NotMoving: "Connected, the source moves, the position does not.", "See the pod's log and the message.";
    NothingLost: "Nothing acknowledged is known to be lost.", "Nothing to do.";
    Stale: "The figures are older than 180 seconds.", "See why the operator or the pods do not report.";
}
