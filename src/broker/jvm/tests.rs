use super::*;

fn kafka(jars: &[&str]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("libs")).unwrap();
    for jar in jars {
        std::fs::write(home.path().join("libs").join(jar), "").unwrap();
    }
    home
}

fn java() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("bin")).unwrap();
    std::fs::write(home.path().join("bin/java"), "").unwrap();
    home
}

#[test]
fn the_class_path_is_sorted_and_leaves_out_what_is_not_run() {
    let home = kafka(&[
        "zstd.jar",
        "kafka_2.13-4.3.1.jar",
        "kafka_2.13-4.3.1-test.jar",
        "NOTICE",
        "a.jar.asc",
    ]);
    let path = class_path(home.path()).unwrap();
    let libs = home.path().join("libs");
    let wanted = format!(
        "{}:{}",
        libs.join("kafka_2.13-4.3.1.jar").display(),
        libs.join("zstd.jar").display()
    );
    assert_eq!(path, OsString::from(wanted));
}

#[test]
fn a_directory_without_kafka_is_named() {
    for home in [kafka(&["other.jar"]), tempfile::tempdir().unwrap()] {
        let error = class_path(home.path()).unwrap_err().to_string();
        assert!(
            error.contains(home.path().to_str().unwrap()) && error.contains("kafkaHome"),
            "{error}"
        );
    }
}

#[test]
fn java_home_comes_before_the_path() {
    let (home, other) = (java(), java());
    let path = Some(other.path().join("bin").into_os_string());
    assert_eq!(
        find_java(Some(home.path()), path.clone()).unwrap(),
        home.path().join("bin/java")
    );
    assert_eq!(
        find_java(Some(Path::new("/nonexistent")), path.clone()).unwrap(),
        other.path().join("bin/java")
    );
    assert_eq!(find_java(None, path).unwrap(), other.path().join("bin/java"));
}

fn jvm(archive: Option<PathBuf>) -> Jvm {
    Jvm {
        java: "/java".into(),
        class_path: "/a.jar".into(),
        archive,
    }
}

#[test]
fn memory_is_bounded_and_follows_the_heap() {
    let arguments = |heap| jvm(None).broker_arguments(heap, Path::new("/l.yaml"), Path::new("/t"));
    let small = arguments(256);
    for wanted in [
        "-Xms128m",
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:MaxMetaspaceSize=128m",
        "-XX:+ExitOnOutOfMemoryError",
    ] {
        assert!(small.contains(&OsString::from(wanted)), "{wanted}");
    }
    let large = arguments(4096);
    assert!(large.contains(&"-XX:+UseG1GC".into()) && !large.contains(&"-XX:+UseSerialGC".into()));
}

#[test]
fn an_archive_of_classes_is_used_only_where_there_is_one() {
    let has = |jvm: Jvm| {
        let arguments = jvm.broker_arguments(256, Path::new("/l.yaml"), Path::new("/t"));
        arguments.contains(&"-XX:SharedArchiveFile=/k.jsa".into())
    };
    assert!(has(jvm(Some("/k.jsa".into()))));
    assert!(!has(jvm(None)));
}
