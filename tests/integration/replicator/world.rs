//! A source, a target, and replicators between them.

use std::path::PathBuf;
use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tributary::kafka::KafkaConnection;
use tributary::kafka::wire::Topics;
use tributary::replicator::progress::{LinkStopReason, PartitionProgress, PartitionState, Progress};

use super::records::{Record, read};
use crate::harness::kafka::{KafkaCluster, Listener, unique};
use crate::harness::ports::free_port;
use crate::harness::process::{Process, data_dir};
pub(crate) use crate::harness::wait::PATIENCE;
use crate::harness::wait::{eventually, until};

/// A source and a target.
pub(crate) struct World {
    pub(crate) source: KafkaCluster,
    pub(crate) target: KafkaCluster,
}

/// The two clusters that tests share where topics and links of their own are isolation enough.
pub(crate) async fn shared() -> &'static World {
    static SHARED: OnceCell<World> = OnceCell::const_new();
    SHARED.get_or_init(World::start).await
}

impl World {
    /// Two clusters of one's own, to be stopped, cut and filled.
    pub(crate) async fn start() -> Self {
        let (source, target) = tokio::join!(KafkaCluster::start(1, &[]), KafkaCluster::start(1, &[]));
        Self { source, target }
    }

    /// What arrived of a topic under its `munich.` name, once that is there and holds `count` records.
    pub(crate) async fn arrived(&self, topic: &str, partitions: i32, count: usize) -> Vec<Record> {
        let target = format!("munich.{topic}");
        until_there(&self.target, &target).await;
        read(&plain(&self.target), &target, partitions, count).await
    }

    /// A link from source to target for these topics, under `munich.` names, not yet running.
    pub(crate) fn link(&self, topics: &[&str]) -> Link {
        Link::new(
            self.source.bootstrap(Listener::Plain),
            self.target.bootstrap(Listener::Plain),
            topics,
        )
    }

    /// The same by way of the proxies.
    pub(crate) fn proxied_link(&self, topics: &[&str]) -> Link {
        Link::new(
            self.source.bootstrap(Listener::Proxied),
            self.target.bootstrap(Listener::Proxied),
            topics,
        )
    }
}

/// A link's configuration, to be changed before it runs.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) link_id: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) include: String,
    pub(crate) naming: String,
    pub(crate) start: &'static str,
    pub(crate) more: String,
}

fn endpoint(bootstrap: &[String]) -> String {
    format!("{{bootstrapServers: {bootstrap:?}, tls: {{mode: Disabled}}, authentication: {{type: None}}}}")
}

impl Link {
    pub(crate) fn new(source: Vec<String>, target: Vec<String>, topics: &[&str]) -> Self {
        let name = unique("test/link");
        Self {
            link_id: name.clone(),
            name,
            source: endpoint(&source),
            target: endpoint(&target),
            include: format!("{topics:?}"),
            naming: "{type: Prefix, prefix: munich.}".to_owned(),
            start: "Earliest",
            more: String::new(),
        }
    }

    fn yaml(&self, port: u16, more: &str) -> String {
        format!(
            "name: {}\nlinkId: {}\nsource: {}\ntarget: {}\ntopics: {{include: {}, naming: {}}}\ndelivery: \
             AtLeastOnce\nstart: {}\ntelemetry: {{listen: '127.0.0.1:{port}'}}\ntuning: {{discoveryIntervalMs: 500, \
             positionIntervalMs: 200}}\n{}\n{more}\n",
            self.name,
            self.link_id,
            self.source,
            self.target,
            self.include,
            self.naming,
            self.start,
            self.more
        )
    }

    /// Runs one worker.
    pub(crate) fn run(&self) -> Replicator {
        self.run_with("")
    }

    /// Runs one worker with more lines in its file.
    pub(crate) fn run_with(&self, more: &str) -> Replicator {
        let port = free_port();
        let dir = data_dir("replicator");
        let config = dir.join("replicator.yaml");
        std::fs::write(&config, self.yaml(port, more)).expect("write");
        let mut replicator = Replicator {
            config,
            port,
            process: None,
        };
        replicator.start();
        replicator
    }
}

/// One worker's process, which may be ended and started again.
pub(crate) struct Replicator {
    config: PathBuf,
    port: u16,
    process: Option<Process>,
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
    command.args(["--log-format", "json", "replicator"]);
    command
}

impl Replicator {
    pub(crate) fn start(&mut self) {
        let mut command = binary();
        command.arg("--config").arg(&self.config);
        self.process = Some(Process::start("replicator", &command));
    }

    /// Changes its file; it counts from the next start.
    pub(crate) fn change_config(&self, change: impl Fn(String) -> String) {
        let text = std::fs::read_to_string(&self.config).expect("readable");
        std::fs::write(&self.config, change(text)).expect("write");
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// SIGTERM, and an orderly end.
    pub(crate) async fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let status = process.stop(PATIENCE).await;
        assert!(status.success(), "{status}; {}", process.log_tail());
    }

    /// Runs a verb with this worker's configuration; what it prints.
    pub(crate) fn verb(&self, arguments: &[&str]) -> Result<String, String> {
        let output = binary()
            .arg("--config")
            .arg(&self.config)
            .args(arguments)
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        let process = self.process.as_ref().expect("it runs");
        String::from_utf8_lossy(&std::fs::read(process.log()).unwrap_or_default()).into_owned()
    }

    /// One answer of its HTTP server: status line and body.
    pub(crate) async fn get(&self, path: &str) -> Result<(String, String), String> {
        let answer = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream
                .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
                .await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = answer.await.map_err(|error| error.to_string())?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
        Ok((
            head.lines().next().unwrap_or_default().to_owned(),
            body.to_owned(),
        ))
    }

    pub(crate) async fn progress(&self) -> Result<Progress, String> {
        let (_, body) = self.get("/progress").await?;
        serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))
    }

    /// Waits until its progress is as described.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Progress) -> bool) -> Progress {
        eventually(what, PATIENCE, async || {
            if let Some(process) = &mut self.process {
                process.assert_running();
            }
            let progress = self.progress().await?;
            if is_so(&progress) {
                Ok(progress)
            } else {
                Err(format!("{progress:#?}"))
            }
        })
        .await
    }

    /// Waits until a partition stands still; its state.
    pub(crate) async fn until_stopped(
        &mut self,
        topic: &str,
        partition: i32,
    ) -> (PartitionProgress, Progress) {
        let what = format!("{topic}-{partition} to stop");
        let stopped = |progress: &Progress| {
            of(progress, topic, partition).is_some_and(|partition| partition.state == PartitionState::Stopped)
        };
        let progress = self.until(&what, stopped).await;
        (of(&progress, topic, partition).expect("listed").clone(), progress)
    }

    /// Waits until a partition's position, as stored, is this.
    pub(crate) async fn until_stored(&mut self, topic: &str, partition: i32, offset: i64) -> Progress {
        let what = format!("{topic}-{partition} to be stored at {offset}");
        let reached = |progress: &Progress| {
            of(progress, topic, partition).is_some_and(|found| found.stored == Some(offset))
        };
        self.until(&what, reached).await
    }

    /// Waits until the whole link stands still.
    pub(crate) async fn until_link_stopped(&mut self, reason: LinkStopReason) -> Progress {
        let stopped = |progress: &Progress| {
            progress
                .stopped
                .as_ref()
                .is_some_and(|stop| stop.reason == reason)
        };
        self.until(reason.as_str(), stopped).await
    }

    /// Waits until a topic is refused; why.
    pub(crate) async fn until_refused(&mut self, topic: &str, reason: &str) -> String {
        let refused = |progress: &Progress| {
            progress
                .refused
                .iter()
                .any(|refused| refused.name == topic && refused.reason == reason)
        };
        let progress = self
            .until(&format!("{topic} to be refused for {reason}"), refused)
            .await;
        progress
            .refused
            .into_iter()
            .find(|refused| refused.name == topic)
            .expect("refused")
            .message
    }

    /// Waits until it has this many partitions of whatever topics, and follows all.
    pub(crate) async fn until_following_all(&mut self, count: usize) -> Vec<PartitionProgress> {
        let following = |progress: &Progress| {
            progress.partitions.len() == count
                && progress
                    .partitions
                    .iter()
                    .all(|found| found.state == PartitionState::Following)
        };
        self.until(&format!("{count} partitions to be followed"), following)
            .await
            .partitions
    }

    /// Waits until each partition is followed.
    pub(crate) async fn until_following(&mut self, topic: &str, partitions: i32) -> Progress {
        let following = |progress: &Progress| {
            (0..partitions).all(|partition| {
                of(progress, topic, partition).is_some_and(|found| found.state == PartitionState::Following)
            })
        };
        self.until(&format!("{topic} to be followed"), following).await
    }
}

/// A partition's state.
pub(crate) fn of<'a>(progress: &'a Progress, topic: &str, partition: i32) -> Option<&'a PartitionProgress> {
    progress
        .partitions
        .iter()
        .find(|found| found.topic == topic && found.partition == partition)
}

/// Waits until a cluster has a topic.
pub(crate) async fn until_there(cluster: &KafkaCluster, topic: &str) {
    let admin = cluster.admin();
    until(&format!("{topic} to be created"), PATIENCE, || async {
        let topics = Topics::Named(vec![topic.to_owned()]);
        admin
            .metadata(topics)
            .await
            .is_ok_and(|metadata| metadata.topics.values().all(Result::is_ok))
    })
    .await;
}

/// The plaintext connection of a cluster.
pub(crate) fn plain(cluster: &KafkaCluster) -> KafkaConnection {
    cluster.connection(Listener::Plain)
}
