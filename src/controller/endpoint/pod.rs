//! What a pod needs to reach a peer: a file with addresses, and secrets mounted beside it.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, KeyToPath, ProjectedVolumeSource, SecretProjection, Volume, VolumeMount,
    VolumeProjection,
};

use crate::api::{CaSource, SecretKeyRef};
use crate::kafka::endpoint::KafkaEndpointFile;

/// Directory under which each peer's credentials have a directory of their own.
pub const CREDENTIALS_DIR: &str = "/etc/tributary/credentials";
/// Read for all: the container's user is none that the kubelet knows.
const FILE_MODE: i32 = 0o444;

/// The files of one peer's credentials. They are one projected volume, which the kubelet keeps up to date as a whole;
/// a `subPath` would freeze them.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretMounts {
    peer: String,
    sources: Vec<VolumeProjection>,
}

impl SecretMounts {
    /// Files of `peer`, such as `source`: a DNS label.
    #[must_use]
    pub fn new(peer: &str) -> Self {
        Self {
            peer: peer.to_owned(),
            sources: Vec::new(),
        }
    }

    /// Mounts a key of a Secret as `file`; yields its path in the container.
    pub fn secret(&mut self, reference: &SecretKeyRef, file: &str) -> String {
        self.sources.push(VolumeProjection {
            secret: Some(SecretProjection {
                name: reference.name.clone(),
                items: Some(vec![item(&reference.key, file)]),
                optional: None,
            }),
            ..VolumeProjection::default()
        });
        self.path(file)
    }

    /// Mounts a CA bundle as `file`; yields its path in the container.
    pub fn ca(&mut self, source: &CaSource, file: &str) -> Option<String> {
        if let Some(secret) = &source.secret_ref {
            return Some(self.secret(secret, file));
        }
        let reference = source.config_map_ref.as_ref()?;
        self.sources.push(VolumeProjection {
            config_map: Some(ConfigMapProjection {
                name: reference.name.clone(),
                items: Some(vec![item(&reference.key, file)]),
                optional: None,
            }),
            ..VolumeProjection::default()
        });
        Some(self.path(file))
    }

    /// The volume and its mount; none if there is nothing to mount.
    #[must_use]
    pub fn volume(&self) -> Option<(Volume, VolumeMount)> {
        if self.sources.is_empty() {
            return None;
        }
        let name = format!("{}-credentials", self.peer);
        let volume = Volume {
            name: name.clone(),
            projected: Some(ProjectedVolumeSource {
                default_mode: Some(FILE_MODE),
                sources: Some(self.sources.clone()),
            }),
            ..Volume::default()
        };
        let mount = VolumeMount {
            name,
            mount_path: format!("{CREDENTIALS_DIR}/{}", self.peer),
            read_only: Some(true),
            ..VolumeMount::default()
        };
        Some((volume, mount))
    }

    fn path(&self, file: &str) -> String {
        format!("{CREDENTIALS_DIR}/{}/{file}", self.peer)
    }
}

fn item(key: &str, file: &str) -> KeyToPath {
    KeyToPath {
        key: key.to_owned(),
        path: file.to_owned(),
        mode: None,
    }
}

/// A Kafka as a pod sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PodEndpoint {
    /// For the pod's configuration.
    pub file: KafkaEndpointFile,
    /// The files it names.
    pub mounts: SecretMounts,
}
