//! Processes of tests: they die with the test process, also when that is killed, and their data goes with them.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

/// Runs whose logs are kept.
const KEPT_RUNS: usize = 5;

/// A process. Dropped, it is killed and reaped.
pub(crate) struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts a program with its output in a log file named after `name`. The program's arguments and environment are
    /// `command`'s; its input is empty.
    pub(crate) fn start(name: &str, command: &Command) -> Self {
        let log = log_dir().join(format!("{name}-{}.log", next_number()));
        let file = File::create(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let mut wrapped = Command::new("setpriv");
        wrapped
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            wrapped.current_dir(dir);
        }
        let second = file.try_clone().expect("a second handle");
        // A group of its own: Ctrl-C reaches the tests, and they end the rest.
        wrapped
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(second)
            .process_group(0);
        let child = spawn(wrapped).unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self {
            name: name.to_owned(),
            log,
            child,
        }
    }

    /// Process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log, for a failure's message.
    pub(crate) fn log_tail(&self) -> String {
        let text = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        format!(
            "{}:\n{}",
            self.log.display(),
            lines[lines.len().saturating_sub(20)..].join("\n")
        )
    }

    /// How it ended, if it has.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("waitpid")
    }

    /// Panics with the end of its log if it has ended.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.exit_status() {
            panic!("{} ended ({status}); {}", self.name, self.log_tail());
        }
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT`).
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &self.id().to_string()])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -{signal} {} ({})",
            self.id(),
            self.name
        );
    }

    /// SIGKILL, and the end awaited.
    pub(crate) fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and the end awaited; SIGKILL after `limit`.
    pub(crate) async fn stop(&mut self, limit: Duration) -> ExitStatus {
        self.signal("TERM");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.exit_status() {
                return status;
            }
            if begun.elapsed() > limit {
                let tail = self.log_tail();
                self.kill();
                panic!("{} did not end within {limit:?} of SIGTERM; {tail}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A fresh folder for a server's data. It goes when the test process has ended.
pub(crate) fn data_dir(name: &str) -> PathBuf {
    let path = run_dir().join("data").join(format!("{name}-{}", next_number()));
    fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

fn log_dir() -> PathBuf {
    let path = run_dir().join("log");
    fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

fn next_number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// The kernel's parent-death signal counts the thread that forked as the parent, and a test's thread ends with the
/// test: everything is started by one thread that never ends.
fn spawn(command: Command) -> std::io::Result<Child> {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                // The asker waits for it.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, result) = mpsc::channel();
    spawner.send((command, answer)).expect("the spawner never ends");
    result.recv().expect("the spawner answers")
}

/// This run's folder, `target/tmp/integration/<pid>`. A watchdog removes its data when this process has ended.
fn run_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let runs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("integration");
        forget_old_runs(&runs);
        let dir = runs.join(std::process::id().to_string());
        // A run of a reused process ID left it.
        let _ = fs::remove_dir_all(&dir);
        let data = dir.join("data");
        fs::create_dir_all(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
        watch(&data);
        dir
    })
}

/// Starts a shell, out of reach of this process's signals, which waits for the end of its input (that is: of this
/// process) and then removes the data.
fn watch(data: &Path) {
    let script = r#"cat >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$0" 2>/dev/null && exit; sleep 0.2; done"#;
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", script]).arg(data);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    #[allow(clippy::zombie_processes)] // it outlives this process: that is what it is for
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start setsid: {error}"));
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"alive\n").expect("the watchdog reads");
    // Never closed by us: the kernel closes it when this process ends.
    std::mem::forget(input);
}

/// Keeps the logs of the last few runs that have ended.
fn forget_old_runs(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    let mut ended: Vec<_> = entries
        .flatten()
        .filter(|entry| !Path::new("/proc").join(entry.file_name()).exists())
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    ended.sort();
    for (_, path) in ended.iter().rev().skip(KEPT_RUNS) {
        // Another run may be removing it too.
        let _ = fs::remove_dir_all(path);
    }
}
