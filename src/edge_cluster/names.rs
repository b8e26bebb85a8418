//! The names of everything that belongs to an EdgeCluster. `name` has at most 40 characters and a listener's name at
//! most 14 (CRD rules), so that each of these fits the 63 characters of a DNS label.

/// The StatefulSet, and the Service of the Internal listeners.
pub fn base(name: &str) -> String {
    format!("{name}-kafka")
}

/// A broker's pod.
pub fn pod(name: &str, id: i32) -> String {
    format!("{name}-kafka-{id}")
}

/// The headless Service, under which each pod has a name of its own.
pub fn headless(name: &str) -> String {
    format!("{name}-kafka-brokers")
}

/// A broker's host name inside the Kubernetes cluster.
pub fn broker_host(name: &str, namespace: &str, id: i32) -> String {
    format!("{}.{}.{namespace}.svc", pod(name, id), headless(name))
}

/// The Service that reaches any broker through a NodePort listener.
pub fn node_port(name: &str, listener: &str) -> String {
    format!("{name}-kafka-{listener}")
}

/// The Service that reaches one broker through a NodePort listener.
pub fn node_port_broker(name: &str, listener: &str, id: i32) -> String {
    format!("{name}-kafka-{listener}-{id}")
}

/// The identity record (law 3).
pub fn identity(name: &str) -> String {
    format!("{name}-kafka-identity")
}

/// The record of topics and settings that the operator made.
pub fn topics(name: &str) -> String {
    format!("{name}-kafka-topics")
}

/// What the names of the broker's configurations begin with; the rest is a digest of the content.
pub fn config_prefix(name: &str) -> String {
    format!("{name}-kafka-config-")
}

/// Names that a message lists, at most.
const LISTED: usize = 5;

/// Names for a message, as in `a, b and 3 more`.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let first = names[..names.len().min(LISTED)].join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_lists_five_names_and_counts_the_rest() {
        assert_eq!(list(["a", "b"]), "a, b");
        assert_eq!(list(["a", "b", "c", "d", "e"]), "a, b, c, d, e");
        assert_eq!(
            list(["a", "b", "c", "d", "e", "f", "g"]),
            "a, b, c, d, e and 2 more"
        );
    }

    #[test]
    fn the_longest_names_fit_a_dns_label() {
        let (name, listener) = ("n".repeat(40), "l".repeat(14));
        let all = [
            headless(&name),
            node_port_broker(&name, &listener, 2),
            identity(&name),
            topics(&name),
            // The StatefulSet controller's label holds the name and a ten-character hash.
            base(&name) + "-0123456789",
        ];
        for name in all {
            assert!(name.len() <= 63, "{name} has {}", name.len());
        }
    }
}
