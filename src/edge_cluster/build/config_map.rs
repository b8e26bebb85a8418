//! The broker's configuration. The ConfigMap's name has a digest of its content and the content never changes: a
//! broker whose container restarts gets the configuration that its pod was made with, also when the operator has made
//! a newer one meanwhile.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::ConfigMap;
use sha2::{Digest, Sha256};

use super::super::names;
use super::super::validate::{CONTROLLER_PORT, ValidListener, ValidatedEdgeCluster};
use super::{CONFIG_KEY, IDENTITY_KEY, path};
use crate::broker::config::{Advertised, BrokerConfig, BrokerListener, Controller, Directories};
use crate::controller::Error;

/// Builds it.
///
/// # Errors
/// Only if the serializer fails, which it does not for these types.
pub fn config_map(cluster: &ValidatedEdgeCluster) -> Result<ConfigMap, Error> {
    let text = serde_yaml::to_string(&broker_config(cluster)).map_err(|e| Error::Serialize {
        what: "the broker's configuration".to_owned(),
        message: e.to_string(),
    })?;
    let name = names::config_prefix(&cluster.name) + &digest(text.as_bytes());
    Ok(ConfigMap {
        metadata: cluster.metadata(name),
        immutable: Some(true),
        data: Some(BTreeMap::from([(CONFIG_KEY.to_owned(), text)])),
        ..ConfigMap::default()
    })
}

/// Ten hexadecimal digits that tell one content from another.
pub(super) fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .take(5)
        .fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The launcher's file, the same for every broker.
pub fn broker_config(cluster: &ValidatedEdgeCluster) -> BrokerConfig {
    let host = |id| names::broker_host(&cluster.name, &cluster.namespace, id);
    BrokerConfig {
        cluster: format!("{}/{}", cluster.namespace, cluster.name),
        identity_file: Path::new(path::IDENTITY).join(IDENTITY_KEY),
        kafka_home: path::KAFKA_HOME.into(),
        directories: Directories {
            volume: path::VOLUME.into(),
            state: path::HELPER.into(),
            scratch: Path::new(path::TMP).join("tributary"),
        },
        heap_mib: cluster.heap_mib,
        controllers: (0..cluster.brokers)
            .map(|id| Controller {
                id,
                host: host(id),
                port: CONTROLLER_PORT,
            })
            .collect(),
        listeners: cluster
            .listeners
            .iter()
            .map(|l| listener(cluster, l, &host))
            .collect(),
        inter_broker_listener: cluster.inter_broker_listener().name.clone(),
        properties: cluster.broker_config(),
    }
}

fn listener(
    cluster: &ValidatedEdgeCluster,
    listener: &ValidListener,
    host: &dyn Fn(i32) -> String,
) -> BrokerListener {
    let advertised = |id: i32| match &listener.node_port {
        None => Advertised {
            id,
            host: Some(host(id)),
            port: listener.port,
        },
        Some(node_port) => {
            let entry = node_port.brokers.get(&id);
            Advertised {
                id,
                host: entry.and_then(|(_, host)| host.clone()),
                port: entry.map_or(listener.port, |(port, _)| *port),
            }
        }
    };
    BrokerListener {
        name: listener.name.clone(),
        port: listener.port,
        advertised: (0..cluster.brokers).map(advertised).collect(),
    }
}
