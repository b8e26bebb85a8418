//! A real mosquitto with the configuration that a test wants.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tokio::net::TcpStream;

use super::certificates::Authority;
use super::ports::free_port;
use super::process::{Process, data_dir};
use super::tools::tool;
use super::wait::{PATIENCE, eventually};

/// What a broker is started with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// User and password; without, anybody may connect.
    pub(crate) user: Option<(String, String)>,
    /// TLS on the port, with a certificate for 127.0.0.1 and localhost.
    pub(crate) tls: bool,
    /// A client certificate is required (with `tls`); its common name is the user.
    pub(crate) client_certificate: bool,
    /// Sessions and queues survive a restart.
    pub(crate) persistence: bool,
    /// Further lines of mosquitto.conf.
    pub(crate) config: Vec<String>,
}

impl Default for Options {
    /// Anybody, plaintext, persistent, with limits that lose nothing in a test.
    fn default() -> Self {
        Self {
            user: None,
            tls: false,
            client_certificate: false,
            persistence: true,
            config: vec![
                "max_inflight_messages 1000".into(),
                "max_queued_messages 0".into(),
                "max_queued_bytes 1073741824".into(),
                "sys_interval 1".into(),
            ],
        }
    }
}

/// A running broker. Dropped, it is killed and its data removed.
pub(crate) struct Mosquitto {
    dir: PathBuf,
    port: u16,
    tls: bool,
    authority: Authority,
    process: Option<Process>,
}

impl Mosquitto {
    /// Starts a broker and waits until it accepts connections.
    pub(crate) async fn start(options: &Options) -> Self {
        let dir = data_dir("mosquitto");
        let mut broker = Self {
            dir,
            port: free_port(),
            tls: options.tls,
            authority: Authority::new("mqtt tests"),
            process: None,
        };
        broker.write_config(options);
        broker.start_again().await;
        broker
    }

    fn write_config(&self, options: &Options) {
        let file = |name: &str| self.dir.join(name).display().to_string();
        let mut lines = vec![
            format!("listener {} 127.0.0.1", self.port),
            format!("allow_anonymous {}", options.user.is_none()),
            // As whoever runs the tests, root included.
            "user root".into(),
            "log_dest stderr".into(),
            "log_type all".into(),
            "connection_messages true".into(),
        ];
        if options.persistence {
            lines.push("persistence true".into());
            lines.push(format!("persistence_location {}/", self.dir.display()));
            // Once a second. On every change it would write all it has after each packet, and take a hundred packets a
            // second.
            lines.push("autosave_interval 1".into());
        }
        if let Some((user, password)) = &options.user {
            self.write_password(user, password);
            lines.push(format!("password_file {}", file("passwords")));
        }
        if options.tls {
            let server = self.authority.server(&["127.0.0.1", "localhost"]);
            fs::write(file("ca.pem"), self.authority.pem()).expect("write");
            fs::write(file("server.pem"), server.certificate).expect("write");
            fs::write(file("server.key"), server.key).expect("write");
            lines.push(format!("cafile {}", file("ca.pem")));
            lines.push(format!("certfile {}", file("server.pem")));
            lines.push(format!("keyfile {}", file("server.key")));
            lines.push(format!("require_certificate {}", options.client_certificate));
            lines.push(format!("use_identity_as_username {}", options.client_certificate));
        }
        lines.extend(options.config.iter().cloned());
        fs::write(file("mosquitto.conf"), lines.join("\n") + "\n").expect("write");
    }

    fn write_password(&self, user: &str, password: &str) {
        let program = tool("mosquitto").with_file_name("mosquitto_passwd");
        let passwords = self.dir.join("passwords");
        let output = Command::new(&program)
            .args(["-b", "-c"])
            .arg(&passwords)
            .args([user, password])
            .output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        assert!(
            output.status.success(),
            "{}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its URL: `mqtt://…`, or `mqtts://…` with TLS.
    pub(crate) fn url(&self) -> String {
        format!(
            "{}://127.0.0.1:{}",
            if self.tls { "mqtts" } else { "mqtt" },
            self.port
        )
    }

    /// The CA that signs its certificate, and that it trusts for clients.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Sets another password for the user; mosquitto reads it at once, for new connections.
    pub(crate) fn change_password(&self, user: &str, password: &str) {
        self.write_password(user, password);
        self.process.as_ref().expect("it runs").signal("HUP");
    }

    /// SIGTERM: it saves its sessions.
    pub(crate) async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop(PATIENCE).await;
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGSTOP: connections stand, nothing is answered.
    pub(crate) fn pause(&self) {
        self.process.as_ref().expect("it runs").signal("STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.process.as_ref().expect("it runs").signal("CONT");
    }

    /// Removes what it has stored, as a broker without a volume loses it. Only while it is stopped.
    pub(crate) fn forget_sessions(&self) {
        assert!(self.process.is_none(), "stop it first");
        // There is none before the first save.
        let _ = fs::remove_file(self.dir.join("mosquitto.db"));
    }

    /// Starts it again after `stop` or `kill`, on the same port with the same data.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let mut command = Command::new(tool("mosquitto"));
        command.arg("-c").arg(self.dir.join("mosquitto.conf"));
        let mut process = Process::start("mosquitto", &command);
        let port = self.port;
        eventually(
            &format!("mosquitto ({})", process.log().display()),
            PATIENCE,
            || {
                process.assert_running();
                TcpStream::connect(("127.0.0.1", port))
            },
        )
        .await;
        self.process = Some(process);
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.process = None;
        // What is left goes with the run's folder.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
