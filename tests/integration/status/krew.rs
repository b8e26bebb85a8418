//! The krew manifest that a release gets.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::process::data_dir;

fn render(arguments: &[&str]) -> std::process::Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/krew/render");
    Command::new(script).args(arguments).output().expect("bash")
}

fn archive(name: &str, files: &[&str]) -> String {
    let dir = data_dir("krew");
    for file in files {
        fs::write(dir.join(file), file).unwrap();
    }
    let path = dir.join(name);
    let tar = Command::new("tar")
        .arg("-czf")
        .arg(&path)
        .arg("-C")
        .arg(&dir)
        .args(files)
        .status()
        .expect("tar");
    assert!(tar.success());
    path.display().to_string()
}

#[test]
fn a_release_gets_a_manifest_with_the_digest_of_each_archive() {
    let amd64 = archive("tributary-linux-amd64.tar.gz", &["tributary", "LICENSE"]);
    let arm64 = archive("tributary-linux-arm64.tar.gz", &["tributary", "LICENSE"]);
    let output = render(&[env!("CARGO_PKG_VERSION"), &amd64, &arm64]);
    assert!(output.status.success(), "{output:?}");
    let manifest: Value = serde_yaml::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert_eq!(manifest["metadata"]["name"], "tributary");
    assert_eq!(
        manifest["spec"]["version"],
        format!("v{}", env!("CARGO_PKG_VERSION"))
    );
    let platforms = manifest["spec"]["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    for (platform, (arch, path)) in platforms.iter().zip([("amd64", &amd64), ("arm64", &arm64)]) {
        assert_eq!(
            platform["selector"]["matchLabels"],
            json!({"os": "linux", "arch": arch})
        );
        assert_eq!(platform["bin"], "tributary");
        let sum = Command::new("sha256sum").arg(path).output().unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        assert_eq!(platform["sha256"].as_str(), sum.split_whitespace().next());
    }
}

#[test]
fn an_archive_that_krew_could_not_use_is_refused() {
    let empty = archive("tributary-linux-amd64.tar.gz", &["LICENSE"]);
    let output = render(&["0.1.0", &empty]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no file tributary"));
}
