//! The copying itself: one librdkafka consumer, one idempotent producer and the thread between them, for the length of a
//! session.
//!
//! The engine decides nothing. It follows the partitions it is given from the offsets it is given, shows how far the
//! target has acknowledged each, and reports what it cannot get past. A session ends by [`Engine::end`]; the next one
//! starts from positions again.

mod batch;
mod clients;
mod epoch;
mod meters;
mod pump;
mod refusal;
mod signs;
mod slot;
mod wake;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc as channel;

use self::batch::Batching;
use self::clients::TargetContext;
pub use self::meters::Meters;
use self::pump::Pump;
pub use self::refusal::Refusal;
use self::signs::Signs;
use self::wake::Wake;
use super::config::Tuning;
use super::progress::Side;
use super::tracker::Reached;
use crate::kafka::connection::KafkaConnection;
use crate::kafka::quiet::Quiet;

/// How often a drain looks whether it is done.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// A partition to copy.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Number of the slot, from 0, never used before in this session.
    pub slot: usize,
    /// Name on the source.
    pub topic: String,
    /// Partition, on both sides.
    pub partition: i32,
    /// Name on the target.
    pub target_topic: String,
    /// Where to start.
    pub start: Reached,
}

/// How far a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// Everything before it is on the target.
    pub reached: Reached,
    /// Records acknowledged in this session.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Nothing waits for an acknowledgement.
    pub idle: bool,
}

/// What the engine cannot get past by itself. At most one per slot, and one for the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The source does not give the next record; the slot has halted.
    SourceFault {
        /// The slot.
        slot: usize,
        /// librdkafka's or Kafka's code.
        code: RDKafkaErrorCode,
    },
    /// The target does not take a record; the slot has halted, and the session must end, because what was queued behind
    /// the record may no longer be written.
    TargetFault {
        /// The slot.
        slot: usize,
        /// What the target says.
        refusal: Refusal,
    },
    /// A client cannot go on: the session must end.
    Broken {
        /// What happened.
        message: String,
    },
}

enum Command {
    Follow(Vec<Follow>),
    Leave(Vec<usize>),
    Drain,
    Stop,
}

type States = BTreeMap<usize, SlotState>;

/// The pump's side of the channel between it and the link.
struct Link {
    commands: mpsc::Receiver<Command>,
    /// Unbounded, but see [`Event`]: at most one event per slot and one more.
    events: channel::UnboundedSender<Event>,
    states: Arc<Mutex<States>>,
    ending: Arc<AtomicBool>,
    drained: Arc<AtomicBool>,
    wake: Wake,
    signs: Signs,
}

impl Link {
    fn tell(&self, event: Event) {
        // Nobody listens any more only while the session ends.
        let _ = self.events.send(event);
    }

    fn show(&self, states: States) {
        *self.states.lock().unwrap_or_else(PoisonError::into_inner) = states;
    }

    fn say_drained(&self) {
        self.drained.store(true, Ordering::Release);
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}

/// A running session.
pub struct Engine {
    commands: mpsc::Sender<Command>,
    events: channel::UnboundedReceiver<Event>,
    states: Arc<Mutex<States>>,
    ending: Arc<AtomicBool>,
    drained: Arc<AtomicBool>,
    wake: Wake,
    signs: Signs,
    thread: Option<std::thread::JoinHandle<()>>,
    fetch_buffer_bytes: u64,
    /// What the consumer was made for.
    partitions: usize,
}

impl Engine {
    /// Builds both clients and starts the thread. No broker is asked for anything yet.
    ///
    /// `partitions` is about how many will be followed; `batch_limit` the smallest `max.message.bytes` of the topics
    /// that will be written; `meters` are those of the worker.
    ///
    /// # Errors
    /// When librdkafka refuses the settings, such as a broken certificate.
    pub fn start(
        source: &KafkaConnection,
        target: &KafkaConnection,
        tuning: &Tuning,
        partitions: usize,
        batch_limit: u64,
        meters: Meters,
    ) -> Result<Self, EngineError> {
        let consumer = clients::consumer_config(source, tuning, partitions)
            .create_with_context(Quiet("source"))
            .map_err(EngineError::Source)?;
        let producer = clients::producer_config(target, tuning, batch_limit)
            .create_with_context(TargetContext::default())
            .map_err(EngineError::Target)?;
        let (commands, receiver) = mpsc::channel();
        let (sender, events) = channel::unbounded_channel();
        let (states, wake) = (Arc::default(), Wake::default());
        let (ending, drained) = (Arc::default(), Arc::default());
        let signs = Signs::new();
        let link = Link {
            commands: receiver,
            events: sender,
            states: Arc::clone(&states),
            ending: Arc::clone(&ending),
            drained: Arc::clone(&drained),
            wake: wake.clone(),
            signs: signs.clone(),
        };
        let linger = Duration::from_millis(u64::from(tuning.linger_ms));
        let batching = Batching::new(clients::batch_bytes(batch_limit), linger);
        let pump = Pump::new(
            consumer,
            producer,
            link,
            tuning.produce_buffer_bytes,
            batching,
            meters,
        );
        let thread = std::thread::Builder::new()
            .name("pump".to_owned())
            .spawn(move || pump.run());
        let thread = Some(thread.map_err(EngineError::Thread)?);
        Ok(Self {
            commands,
            events,
            states,
            ending,
            drained,
            wake,
            signs,
            thread,
            fetch_buffer_bytes: tuning.fetch_buffer_bytes,
            partitions,
        })
    }

    /// Whether so many partitions would have far more bytes fetched than they may: it takes another engine.
    #[must_use]
    pub fn is_outgrown(&self, partitions: usize) -> bool {
        clients::is_outgrown(self.fetch_buffer_bytes, self.partitions, partitions)
    }

    /// Starts to copy partitions.
    pub fn follow(&self, follow: Vec<Follow>) {
        self.command(Command::Follow(follow));
    }

    /// Stops copying; what is in flight may still be written.
    pub fn leave(&self, slots: Vec<usize>) {
        self.command(Command::Leave(slots));
    }

    /// How far each slot is, at most a tenth of a second ago.
    #[must_use]
    pub fn states(&self) -> BTreeMap<usize, SlotState> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long ago the engine's clients last heard from a side; `None` if they have not yet.
    #[must_use]
    pub fn heard(&self, side: Side) -> Option<Duration> {
        self.signs.age(side)
    }

    /// The next thing that the engine cannot get past. Cancel safe.
    pub async fn event(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            None => Event::Broken {
                message: "the copying thread ended".to_owned(),
            },
        }
    }

    /// Takes no more records, waits at most `limit` for the acknowledgements that are due, ends the thread and both
    /// clients, and says how far each slot is, and what has happened meanwhile.
    pub async fn end(mut self, limit: Duration) -> (BTreeMap<usize, SlotState>, Vec<Event>) {
        self.ending.store(true, Ordering::Release);
        self.command(Command::Drain);
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && !self.drained.load(Ordering::Acquire) {
            tokio::time::sleep(DRAIN_TICK).await;
        }
        self.command(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // Joining takes as long as both clients take to close: about half a second.
            let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
            if !matches!(joined, Ok(true)) {
                tracing::error!("the copying thread ended by a panic");
            }
        }
        let mut events = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            events.push(event);
        }
        (self.states(), events)
    }

    fn command(&self, command: Command) {
        // A thread that ended has said so by an event.
        let _ = self.commands.send(command);
        self.wake.wake();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        self.command(Command::Stop);
    }
}

/// Why a session cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The consumer.
    #[error("cannot make the client of the source: {0}; check its TLS files and credentials")]
    Source(#[source] KafkaError),
    /// The producer.
    #[error("cannot make the client of the target: {0}; check its TLS files and credentials")]
    Target(#[source] KafkaError),
    /// The operating system.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}
