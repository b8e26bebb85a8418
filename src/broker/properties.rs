//! The final `server.properties`: what follows from the configuration, this node and its address.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::config::{BrokerConfig, CONTROLLER_LISTENER};

#[cfg(test)]
mod tests;

/// Keys that follow from other fields of the configuration.
const DERIVED: [&str; 14] = [
    "advertised.listeners",
    "broker.id",
    "controller.listener.names",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    "inter.broker.listener.name",
    "listener.security.protocol.map",
    "listeners",
    "log.dir",
    "log.dirs",
    "metadata.log.dir",
    "node.id",
    "process.roles",
    "security.inter.broker.protocol",
];

/// This node, as the pod or the command line knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Node ID.
    pub id: i32,
    /// IP of the machine, for listeners whose advertised host is left open.
    pub host_ip: Option<IpAddr>,
}

/// Why the properties cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    /// This node is not in the configuration.
    #[error("controllers has no entry for node {0}; this pod does not belong to the cluster")]
    UnknownNode(i32),
    /// The host to advertise is not known.
    #[error("listener {0} advertises the node's IP, which is not known; give --host-ip (HOST_IP)")]
    NoHostIp(String),
}

/// Why a property of the configuration cannot be taken, if so.
pub(super) fn refused(key: &str, value: &str) -> Option<String> {
    if DERIVED.contains(&key) {
        return Some("it follows from the other fields; remove it".to_owned());
    }
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if key.is_empty() || !key.chars().all(good) {
        return Some("it is not the name of a Kafka property".to_owned());
    }
    value
        .contains(['\r', '\n'])
        .then(|| "its value has a line break".to_owned())
}

/// Renders the properties for one node with its data in `log_dir`.
///
/// # Errors
/// When the node is not in the configuration, or an address is not known.
pub fn render(config: &BrokerConfig, node: Node, log_dir: &Path) -> Result<String, PropertiesError> {
    let mut all: BTreeMap<&str, String> = config
        .properties
        .iter()
        .map(|(k, v)| (k.as_str(), v.clone()))
        .collect();
    all.extend(derived(config, node, log_dir)?);
    let mut text = String::from("# Rendered at each start of the broker.\n");
    for (key, value) in all {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key}={}", escaped(&value));
    }
    Ok(text)
}

fn derived(
    config: &BrokerConfig,
    node: Node,
    log_dir: &Path,
) -> Result<BTreeMap<&'static str, String>, PropertiesError> {
    let own = config
        .controllers
        .iter()
        .find(|c| c.id == node.id)
        .ok_or(PropertiesError::UnknownNode(node.id))?;
    let controller = CONTROLLER_LISTENER.to_uppercase();
    let (mut binds, mut advertised, mut protocols) = (Vec::new(), Vec::new(), Vec::new());
    for listener in &config.listeners {
        let name = listener.name.to_uppercase();
        // `check` proved that every controller has an entry.
        let Some(entry) = listener.advertised.iter().find(|a| a.id == node.id) else {
            return Err(PropertiesError::UnknownNode(node.id));
        };
        let host = match (&entry.host, node.host_ip) {
            (Some(host), _) => host.clone(),
            (None, Some(ip)) => ip.to_string(),
            (None, None) => return Err(PropertiesError::NoHostIp(listener.name.clone())),
        };
        binds.push(format!("{name}://:{}", listener.port));
        advertised.push(format!("{name}://{}", address(&host, entry.port)));
        protocols.push(format!("{name}:PLAINTEXT"));
    }
    binds.push(format!("{controller}://:{}", own.port));
    advertised.push(format!("{controller}://{}", address(&own.host, own.port)));
    protocols.push(format!("{controller}:PLAINTEXT"));
    let bootstrap: Vec<String> = config
        .controllers
        .iter()
        .map(|c| address(&c.host, c.port))
        .collect();
    Ok(BTreeMap::from([
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", node.id.to_string()),
        ("controller.quorum.bootstrap.servers", bootstrap.join(",")),
        ("controller.listener.names", controller),
        ("listeners", binds.join(",")),
        ("advertised.listeners", advertised.join(",")),
        ("listener.security.protocol.map", protocols.join(",")),
        (
            "inter.broker.listener.name",
            config.inter_broker_listener.to_uppercase(),
        ),
        ("log.dirs", log_dir.display().to_string()),
    ]))
}

/// `host:port`, an IPv6 address in brackets.
pub(super) fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// A value as `java.util.Properties.load` reads it back: Latin-1 with `\uXXXX` for the rest.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (i, c) in value.chars().enumerate() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            ' ' if i == 0 => out.push_str("\\ "),
            ' '..='~' => out.push(c),
            _ => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out
}
