//! A TCP proxy that stands for a line: up, slow, silent or cut.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::ports::free_port;

/// What the line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Carries everything, each way this much later.
    Up(Duration),
    /// Carries nothing, and nobody is told: connections stand, new ones too.
    Silent,
    /// Connections are reset, and new ones refused.
    Cut,
}

/// A proxy on a port of its own in front of one on 127.0.0.1.
pub(crate) struct Proxy {
    port: u16,
    line: watch::Sender<Line>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of this port; the line is up.
    pub(crate) fn start(target: u16) -> Self {
        let port = free_port();
        let (line, state) = watch::channel(Line::Up(Duration::ZERO));
        let task = super::spawn(serve(port, SocketAddr::from(([127, 0, 0, 1], target)), state));
        Self { port, line, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    pub(crate) fn cut(&self) {
        self.set(Line::Cut);
    }

    pub(crate) fn mend(&self) {
        self.set(Line::Up(Duration::ZERO));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(port: u16, target: SocketAddr, mut line: watch::Receiver<Line>) {
    loop {
        // While it is cut nobody listens.
        if line.wait_for(|line| *line != Line::Cut).await.is_err() {
            return;
        }
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("the proxy's port is free");
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        tokio::spawn(carry(stream, target, line.clone()));
                    }
                }
                changed = line.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if *line.borrow_and_update() == Line::Cut {
                        break;
                    }
                }
            }
        }
    }
}

async fn carry(client: TcpStream, target: SocketAddr, mut line: watch::Receiver<Line>) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    for stream in [&client, &server] {
        // Best effort: without them the test is slower, or the peer sees an end instead of a reset.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_zero_linger();
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, line.clone()) => {}
        () = pump(from_server, to_client, line.clone()) => {}
        _ = line.wait_for(|line| *line == Line::Cut) => {}
    }
}

/// One direction: what is read waits for its time, and for the line.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(256);
    let read = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if sender
                .send((Instant::now(), buffer[..length].to_vec()))
                .await
                .is_err()
            {
                break;
            }
        }
        drop(sender);
    };
    let write = async {
        while let Some((read_at, bytes)) = receiver.recv().await {
            let Ok(state) = line
                .wait_for(|line| matches!(line, Line::Up(_)))
                .await
                .map(|state| *state)
            else {
                break;
            };
            if let Line::Up(delay) = state {
                tokio::time::sleep_until(read_at + delay).await;
            }
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(read, write);
}
