//! Real Apache Kafka in KRaft mode: one or three combined nodes, with a listener of every kind of security.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::sync::OnceCell;
use tributary::kafka::connection::{ClientCertificate, Sasl, SaslMechanism, TlsMaterial};
use tributary::kafka::wire::Admin;
use tributary::kafka::{KafkaConnection, TopicId};
use uuid::Uuid;

use super::certificates::{Authority, Pair};
use super::ports::free_port;
use super::process::{Process, data_dir};
use super::proxy::Proxy;
use super::tools::tool;
use super::wait::{PATIENCE, eventually};

/// The SASL user, and its password for PLAIN and both SCRAM mechanisms.
pub(crate) const USER: &str = "factory";
pub(crate) const PASSWORD: &str = "correct-horse";

/// The listeners that every broker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Listener {
    /// Plaintext, no authentication.
    Plain,
    /// TLS, no authentication.
    Tls,
    /// TLS, a client certificate required.
    Mtls,
    /// SASL in plaintext.
    Sasl,
    /// SASL over TLS.
    SaslTls,
    /// Plaintext, advertised at an address of the broker's [`Proxy`].
    Proxied,
}

const LISTENERS: [(Listener, &str, &str); 6] = [
    (Listener::Plain, "PLAIN", "PLAINTEXT"),
    (Listener::Tls, "TLS", "SSL"),
    (Listener::Mtls, "MTLS", "SSL"),
    (Listener::Sasl, "SASL", "SASL_PLAINTEXT"),
    (Listener::SaslTls, "SASLTLS", "SASL_SSL"),
    (Listener::Proxied, "PROXIED", "PLAINTEXT"),
];

/// A running cluster. Dropped, it is killed and its data removed.
pub(crate) struct KafkaCluster {
    id: String,
    dir: PathBuf,
    authority: Authority,
    client: Pair,
    nodes: Vec<Node>,
}

struct Node {
    id: i32,
    dir: PathBuf,
    ports: BTreeMap<Listener, u16>,
    proxy: Proxy,
    process: Option<Process>,
}

/// The one-node cluster that tests share where topics of their own are isolation enough (see [`unique`]). Nobody may
/// stop it, create more than a few partitions or fill it.
pub(crate) async fn shared() -> &'static KafkaCluster {
    static SHARED: OnceCell<KafkaCluster> = OnceCell::const_new();
    SHARED.get_or_init(|| KafkaCluster::start(1, &[])).await
}

/// A name that no other test uses.
pub(crate) fn unique(what: &str) -> String {
    format!("{what}-{}", Uuid::new_v4().simple())
}

impl KafkaCluster {
    /// Starts `nodes` (1 or 3) nodes with these broker settings besides the harness's own, and waits until all are
    /// there.
    pub(crate) async fn start(nodes: usize, settings: &[(&str, &str)]) -> Self {
        let id = TopicId(Uuid::new_v4()).to_string();
        let dir = data_dir("kafka");
        let authority = Authority::new("kafka tests");
        let server = authority.server(&["127.0.0.1", "localhost"]);
        fs::write(
            dir.join("server.pem"),
            format!("{}{}", server.key, server.certificate),
        )
        .expect("write");
        fs::write(dir.join("ca.pem"), authority.pem()).expect("write");
        let client = authority.client("factory-client");

        let controllers: Vec<(u16, String)> = (0..nodes)
            .map(|_| (free_port(), TopicId(Uuid::new_v4()).to_string()))
            .collect();
        let mut cluster = Self {
            id,
            dir,
            authority,
            client,
            nodes: Vec::new(),
        };
        for index in 0..nodes {
            cluster.add_node(index, &controllers, settings);
        }
        let initial: Vec<String> = controllers
            .iter()
            .enumerate()
            .map(|(index, (port, directory))| format!("{index}@127.0.0.1:{port}:{directory}"))
            .collect();
        cluster.format(&initial.join(","));
        for node in &mut cluster.nodes {
            node.process = Some(node.spawn());
        }
        cluster.wait_until_complete().await;
        cluster
    }

    fn add_node(&mut self, index: usize, controllers: &[(u16, String)], settings: &[(&str, &str)]) {
        let id = i32::try_from(index).expect("few nodes");
        let dir = self.dir.join(format!("node-{id}"));
        fs::create_dir_all(&dir).expect("mkdir");
        let ports: BTreeMap<Listener, u16> = LISTENERS
            .iter()
            .map(|(listener, ..)| (*listener, free_port()))
            .collect();
        let proxy = Proxy::start(ports[&Listener::Proxied]);
        let node = Node {
            id,
            dir,
            ports,
            proxy,
            process: None,
        };
        let properties = self.properties(&node, controllers, settings);
        fs::write(node.dir.join("server.properties"), properties).expect("write");
        self.nodes.push(node);
    }

    fn properties(&self, node: &Node, controllers: &[(u16, String)], settings: &[(&str, &str)]) -> String {
        let own = controllers[usize::try_from(node.id).expect("not negative")].0;
        let bootstrap: Vec<String> = controllers
            .iter()
            .map(|(port, _)| format!("127.0.0.1:{port}"))
            .collect();
        let addresses = |advertised: bool| {
            let address = |(listener, name, _): &(Listener, &str, &str)| {
                let port = if advertised && *listener == Listener::Proxied {
                    node.proxy.port()
                } else {
                    node.ports[listener]
                };
                format!("{name}://127.0.0.1:{port}")
            };
            LISTENERS.iter().map(address).collect::<Vec<_>>().join(",")
        };
        let protocols: Vec<String> = LISTENERS
            .iter()
            .map(|(_, name, protocol)| format!("{name}:{protocol}"))
            .collect();
        let replicas = controllers.len().to_string();
        let pem = |name: &str| self.dir.join(name).display().to_string();
        let plain = "org.apache.kafka.common.security.plain.PlainLoginModule";
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule";
        let mut properties: BTreeMap<String, String> = [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", node.id.to_string()),
            ("log.dirs", node.dir.join("data").display().to_string()),
            ("controller.quorum.bootstrap.servers", bootstrap.join(",")),
            (
                "listeners",
                format!("{},CONTROLLER://127.0.0.1:{own}", addresses(false)),
            ),
            (
                "advertised.listeners",
                format!("{},CONTROLLER://127.0.0.1:{own}", addresses(true)),
            ),
            (
                "listener.security.protocol.map",
                format!("{},CONTROLLER:PLAINTEXT", protocols.join(",")),
            ),
            ("controller.listener.names", "CONTROLLER".into()),
            ("inter.broker.listener.name", "PLAIN".into()),
            ("ssl.keystore.type", "PEM".into()),
            ("ssl.keystore.location", pem("server.pem")),
            ("ssl.truststore.type", "PEM".into()),
            ("ssl.truststore.location", pem("ca.pem")),
            ("listener.name.mtls.ssl.client.auth", "required".into()),
            (
                "sasl.enabled.mechanisms",
                "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".into(),
            ),
            ("default.replication.factor", replicas.clone()),
            ("offsets.topic.replication.factor", replicas.clone()),
            ("offsets.topic.num.partitions", "1".into()),
            ("transaction.state.log.replication.factor", replicas.clone()),
            ("transaction.state.log.min.isr", replicas.clone()),
            ("transaction.state.log.num.partitions", "1".into()),
            ("share.coordinator.state.topic.replication.factor", replicas),
            ("auto.create.topics.enable", "false".into()),
            ("group.initial.rebalance.delay.ms", "0".into()),
            // A killed broker of several is noticed within seconds. An only one has nobody to take over: a disk that
            // stands still for some seconds must not fence it.
            ("broker.heartbeat.interval.ms", "500".into()),
            (
                "broker.session.timeout.ms",
                if controllers.len() == 1 { "30000" } else { "4000" }.into(),
            ),
            // Compaction and deletion happen while a test waits.
            ("log.cleaner.backoff.ms", "200".into()),
            ("log.cleaner.dedupe.buffer.size", "4194304".into()),
            ("log.retention.check.interval.ms", "500".into()),
            ("log.segment.delete.delay.ms", "500".into()),
            ("num.network.threads", "2".into()),
            ("num.io.threads", "4".into()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        for listener in ["sasl", "sasltls"] {
            let mut jaas = |mechanism: &str, value: String| {
                properties.insert(
                    format!("listener.name.{listener}.{mechanism}.sasl.jaas.config"),
                    value,
                );
            };
            jaas("plain", format!("{plain} required user_{USER}=\"{PASSWORD}\";"));
            jaas("scram-sha-256", format!("{scram} required;"));
            jaas("scram-sha-512", format!("{scram} required;"));
        }
        for (name, value) in settings {
            properties.insert((*name).to_owned(), (*value).to_owned());
        }
        properties
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect()
    }

    /// Prepares the nodes' volumes, side by side.
    fn format(&self, initial_controllers: &str) {
        let mut running: Vec<Process> = Vec::new();
        for node in &self.nodes {
            let mut command = java(&[]);
            command.args(["kafka.tools.StorageTool", "format"]);
            command.arg(format!("--cluster-id={}", self.id));
            command.arg(format!(
                "--config={}",
                node.dir.join("server.properties").display()
            ));
            command.arg(format!("--initial-controllers={initial_controllers}"));
            for mechanism in [SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
                command.arg(format!(
                    "--add-scram={mechanism}=[name={USER},password={PASSWORD}]"
                ));
            }
            running.push(Process::start("kafka-format", &command));
        }
        for process in &mut running {
            let status = loop {
                match process.exit_status() {
                    Some(status) => break status,
                    None => std::thread::sleep(Duration::from_millis(20)),
                }
            };
            assert!(
                status.success(),
                "kafka-storage format: {status}; {}",
                process.log_tail()
            );
        }
    }

    /// The cluster's ID.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Bootstrap servers of a listener, node 0 first.
    pub(crate) fn bootstrap(&self, listener: Listener) -> Vec<String> {
        self.nodes.iter().map(|node| node.address(listener)).collect()
    }

    /// Address of one node's listener; for [`Listener::Proxied`] that of the proxy.
    pub(crate) fn address(&self, node: usize, listener: Listener) -> String {
        self.nodes[node].address(listener)
    }

    /// What a client needs for a listener.
    pub(crate) fn connection(&self, listener: Listener) -> KafkaConnection {
        let mut connection =
            KafkaConnection::plaintext(self.bootstrap(listener)).with_client_id("integration-test");
        if matches!(listener, Listener::Tls | Listener::Mtls | Listener::SaslTls) {
            let client = (listener == Listener::Mtls).then(|| ClientCertificate {
                certificate_pem: self.client.certificate.clone(),
                key_pem: self.client.key.clone().into(),
            });
            connection.tls = Some(TlsMaterial {
                ca_pem: Some(self.authority.pem()),
                client,
            });
        }
        if matches!(listener, Listener::Sasl | Listener::SaslTls) {
            connection.sasl = Some(Self::sasl(SaslMechanism::ScramSha512));
        }
        connection
    }

    /// Right credentials for a mechanism.
    pub(crate) fn sasl(mechanism: SaslMechanism) -> Sasl {
        Sasl {
            mechanism,
            username: USER.into(),
            password: PASSWORD.into(),
        }
    }

    /// Our own client, on the plaintext listener.
    pub(crate) fn admin(&self) -> Admin {
        Admin::new(&self.connection(Listener::Plain)).expect("an admin client")
    }

    /// The CA that signs the brokers' certificates.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The proxy before a node's [`Listener::Proxied`].
    pub(crate) fn proxy(&self, node: usize) -> &Proxy {
        &self.nodes[node].proxy
    }

    /// A node's data folder.
    pub(crate) fn volume(&self, node: usize) -> PathBuf {
        self.nodes[node].dir.join("data")
    }

    /// A copy of a node's data folder. Only while the node is stopped.
    pub(crate) fn copy_volume(&self, node: usize) -> PathBuf {
        let copy = self.volume(node).with_file_name("copy");
        let copied = Command::new("cp")
            .arg("-a")
            .args([&self.volume(node), &copy])
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "{}", copy.display());
        copy
    }

    /// Puts a copy in the place of a node's data folder. Only while the node is stopped.
    pub(crate) fn restore_volume(&self, node: usize, copy: &Path) {
        fs::remove_dir_all(self.volume(node)).expect("remove");
        fs::rename(copy, self.volume(node)).expect("rename");
    }

    /// SIGTERM: a controlled shutdown.
    pub(crate) async fn stop(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].process.take() {
            process.stop(PATIENCE).await;
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].process.take() {
            process.kill();
        }
    }

    /// SIGSTOP: connections stand, nothing is answered.
    pub(crate) fn pause(&self, node: usize) {
        self.nodes[node]
            .process
            .as_ref()
            .expect("the node runs")
            .signal("STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, node: usize) {
        self.nodes[node]
            .process
            .as_ref()
            .expect("the node runs")
            .signal("CONT");
    }

    /// Starts a node that was stopped or killed, and waits until all that run see each other.
    pub(crate) async fn start_node(&mut self, node: usize) {
        assert!(self.nodes[node].process.is_none(), "node {node} runs");
        self.nodes[node].process = Some(self.nodes[node].spawn());
        self.wait_until_complete().await;
    }

    /// Waits until every running node answers and names all running nodes as live, and no others.
    pub(crate) async fn wait_until_complete(&mut self) {
        let running: Vec<i32> = self
            .nodes
            .iter()
            .filter(|node| node.process.is_some())
            .map(|node| node.id)
            .collect();
        for index in 0..self.nodes.len() {
            if self.nodes[index].process.is_none() {
                continue;
            }
            let plaintext = KafkaConnection::plaintext([self.nodes[index].address(Listener::Plain)]);
            let admin = Admin::new(&plaintext).expect("an admin client");
            let node = &mut self.nodes[index];
            let name = format!("Kafka node {index} ({})", node.log());
            eventually(&name, PATIENCE, || {
                if let Some(process) = &mut node.process {
                    process.assert_running();
                }
                let (admin, running) = (admin.clone(), running.clone());
                async move {
                    let cluster = admin.cluster().await.map_err(|error| error.to_string())?;
                    let live: Vec<i32> = cluster.brokers.keys().copied().collect();
                    if live == running {
                        Ok(())
                    } else {
                        Err(format!("{live:?} live, {running:?} run"))
                    }
                }
            })
            .await;
        }
    }
}

impl Node {
    fn address(&self, listener: Listener) -> String {
        let port = if listener == Listener::Proxied {
            self.proxy.port()
        } else {
            self.ports[&listener]
        };
        format!("127.0.0.1:{port}")
    }

    fn log(&self) -> String {
        self.process
            .as_ref()
            .map(|process| process.log().display().to_string())
            .unwrap_or_default()
    }

    fn spawn(&self) -> Process {
        let log4j = self.dir.join("log4j2.yaml");
        let pattern = "[%d] %p %m (%c{1})%n";
        let config = format!(
            "Configuration: {{Appenders: {{Console: {{name: C, PatternLayout: {{pattern: \"{pattern}\"}}}}}}, \
             Loggers: {{Root: {{level: INFO, AppenderRef: {{ref: C}}}}}}}}\n"
        );
        fs::write(&log4j, config).expect("write");
        let mut command = java(&[format!("-Dlog4j2.configurationFile={}", log4j.display())]);
        command.arg("kafka.Kafka").arg(self.dir.join("server.properties"));
        Process::start(&format!("kafka-{}", self.id), &command)
    }
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.process = None;
        }
        // What is left goes with the run's folder.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Java with Kafka's jars, small and quick to start.
pub(super) fn java(options: &[String]) -> Command {
    let libs = tool("kafka");
    let mut jars: Vec<String> = fs::read_dir(&libs)
        .unwrap_or_else(|error| panic!("{}: {error}", libs.display()))
        .map(|entry| entry.expect("readable").path().display().to_string())
        .collect();
    // Sorted: the class-data archive holds for this order only.
    jars.sort();
    let archive = tool("kafka-cds").with_file_name("host.jsa");
    let mut command = Command::new(tool("jre"));
    command.args([
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xshare:auto",
    ]);
    command.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
    command.args(options).env("CLASSPATH", jars.join(":"));
    command
}
