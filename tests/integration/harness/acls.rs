//! Rights of the SASL user, on a cluster that has an authorizer.

use super::kafka::{KafkaCluster, Listener, USER, java};

/// Broker settings: who comes without authentication may do everything, the SASL user what it is allowed to.
pub(crate) const AUTHORIZER: [(&str, &str); 2] = [
    (
        "authorizer.class.name",
        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    ),
    ("super.users", "User:ANONYMOUS"),
];

impl KafkaCluster {
    /// Allows the SASL user these operations on a topic, which need not be there.
    pub(crate) fn allow(&self, operations: &[&str], topic: &str) {
        let mut command = java(&[]);
        command.args(["org.apache.kafka.tools.AclCommand", "--add"]);
        command.args(["--bootstrap-server", &self.address(0, Listener::Plain)]);
        command.args(["--allow-principal", &format!("User:{USER}"), "--topic", topic]);
        for operation in operations {
            command.args(["--operation", operation]);
        }
        let output = command.output().expect("java");
        assert!(
            output.status.success(),
            "{operations:?} on {topic}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
