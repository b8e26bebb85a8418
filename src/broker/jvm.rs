//! How Kafka's classes are run: the Java program, the class path, memory, logging.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// Where images keep Java when neither JAVA_HOME nor PATH says so.
const USUAL_HOMES: [&str; 2] = ["/opt/java/openjdk", "/opt/jre"];
/// Above this heap, MiB, a pause of the serial collector would be felt; below it, its small footprint counts.
const SERIAL_UP_TO_MIB: u32 = 1024;
/// Endings that the stock `kafka-run-class.sh` leaves out of the class path.
const NOT_RUN: [&str; 6] = [
    "-test.jar",
    "-test-sources.jar",
    "-src.jar",
    "-scaladoc.jar",
    "-javadoc.jar",
    ".asc",
];

/// Kafka's log goes to standard output, where a pod's log is collected.
pub const LOG4J2: &str = r#"Configuration:
  status: ERROR
  Appenders:
    Console:
      name: Console
      PatternLayout: {pattern: "[%d] %p %m (%c{1})%n"}
  Loggers:
    Root: {level: INFO, AppenderRef: {ref: Console}}
    Logger:
      - {name: org.apache.kafka.clients, level: WARN}
      - {name: org.apache.kafka.common.config, level: WARN}
      - {name: kafka.server.KafkaConfig, level: WARN}
      - {name: org.apache.kafka.server.config, level: WARN}
"#;

/// Why Kafka cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum JvmError {
    /// No Java.
    #[error("no Java found: looked at JAVA_HOME ({home}), PATH and {}; use an image that has Java 17 or newer", USUAL_HOMES.join(", "))]
    NoJava {
        /// What JAVA_HOME says.
        home: String,
    },
    /// No jars.
    #[error("no Kafka in {}: {why}; set kafkaHome to where Kafka is installed", home.display())]
    NoKafka {
        /// The configured directory.
        home: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// A Java installation with a Kafka to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jvm {
    /// The `java` program.
    pub java: PathBuf,
    /// Every jar, in the order in which the stock script names them: an archive of classes fits no other.
    pub class_path: OsString,
    /// Classes prepared for a fast start, if the image has them.
    pub archive: Option<PathBuf>,
}

impl Jvm {
    /// Looks for Java and Kafka's jars.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn find(kafka_home: &Path) -> Result<Self, JvmError> {
        let home = std::env::var_os("JAVA_HOME");
        let path = std::env::var_os("PATH");
        let archive = kafka_home.join("kafka.jsa");
        Ok(Self {
            java: find_java(home.as_deref().map(Path::new), path)?,
            class_path: class_path(kafka_home)?,
            archive: archive.is_file().then_some(archive),
        })
    }

    /// Arguments that run the broker. `scratch` is where a dying JVM writes its report.
    #[must_use]
    pub fn broker_arguments(&self, heap_mib: u32, log4j2: &Path, scratch: &Path) -> Vec<OsString> {
        let collector: &[&str] = if heap_mib <= SERIAL_UP_TO_MIB {
            &["-XX:+UseSerialGC"]
        } else {
            &["-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]
        };
        let mut arguments: Vec<OsString> = vec![
            format!("-Xms{}m", heap_mib / 2).into(),
            format!("-Xmx{heap_mib}m").into(),
        ];
        arguments.extend(collector.iter().map(OsString::from));
        arguments.extend(
            [
                "-XX:MaxMetaspaceSize=128m",
                "-XX:ReservedCodeCacheSize=64m",
                "-XX:+ExitOnOutOfMemoryError",
                "-XX:+PerfDisableSharedMem",
                // Each thread's cache of direct buffers is bounded, so that big requests do not grow it for ever.
                "-Djdk.nio.maxCachedBufferSize=262144",
                "-Djava.awt.headless=true",
            ]
            .map(OsString::from),
        );
        arguments.push(option("-XX:ErrorFile=", &scratch.join("hs_err_pid%p.log")));
        arguments.extend(self.shared(log4j2));
        arguments
    }

    /// Arguments that run one of Kafka's tools: short-lived, so compiled little.
    #[must_use]
    pub fn tool_arguments(&self, log4j2: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = [
            "-Xmx128m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:+PerfDisableSharedMem",
        ]
        .map(OsString::from)
        .to_vec();
        arguments.extend(self.shared(log4j2));
        arguments
    }

    fn shared(&self, log4j2: &Path) -> Vec<OsString> {
        let mut arguments = vec![
            option("-Dlog4j2.configurationFile=", log4j2),
            "-Xshare:auto".into(),
        ];
        if let Some(archive) = &self.archive {
            arguments.push(option("-XX:SharedArchiveFile=", archive));
        }
        arguments.extend(["-cp".into(), self.class_path.clone()]);
        arguments
    }
}

fn option(name: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(name);
    argument.push(path);
    argument
}

fn find_java(home: Option<&Path>, path: Option<OsString>) -> Result<PathBuf, JvmError> {
    let from_path = path
        .iter()
        .flat_map(std::env::split_paths)
        .map(|d| d.join("java"));
    let usual = USUAL_HOMES.iter().map(|h| Path::new(h).join("bin/java"));
    home.map(|h| h.join("bin/java"))
        .into_iter()
        .chain(from_path)
        .chain(usual)
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| JvmError::NoJava {
            home: home.map_or("not set".to_owned(), |h| h.display().to_string()),
        })
}

fn class_path(kafka_home: &Path) -> Result<OsString, JvmError> {
    let no_kafka = |why: String| JvmError::NoKafka {
        home: kafka_home.to_owned(),
        why,
    };
    let libs = kafka_home.join("libs");
    let mut jars = std::fs::read_dir(&libs)
        .and_then(|entries| {
            entries
                .map(|e| Ok(e?.file_name()))
                .collect::<io::Result<Vec<_>>>()
        })
        .map_err(|e| no_kafka(format!("{}: {e}", libs.display())))?;
    jars.retain(|name| {
        let name = name.to_string_lossy();
        name.ends_with(".jar") && !NOT_RUN.iter().any(|end| name.ends_with(end))
    });
    jars.sort();
    if !jars
        .iter()
        .any(|name| name.to_string_lossy().starts_with("kafka_"))
    {
        return Err(no_kafka("libs/ has no kafka_*.jar".to_owned()));
    }
    std::env::join_paths(jars.iter().map(|name| libs.join(name))).map_err(|e| no_kafka(e.to_string()))
}
