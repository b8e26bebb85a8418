//! A session that an earlier client of the same ID left, with messages at QoS 2.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tributary::bridge::progress::BridgeProgress;

use super::setup::{Audit, Bridge, audit, payload, ready_config, topic_of, v311};
use crate::harness::kafka::shared;
use crate::harness::mosquitto::{Mosquitto, Options};

/// More than mosquitto sends before it has seen PUBCOMP.
const MESSAGES: usize = 100;

/// A client of MQTT 3.1.1 at QoS 2, which ours is not.
struct Former(TcpStream);

impl Former {
    async fn connect(mqtt: &Mosquitto, client_id: &str, clean: bool) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", mqtt.port())).await;
        let mut client = Self(stream.expect("the server answers"));
        let head = [0, 4, b'M', b'Q', b'T', b'T', 4, u8::from(clean) << 1, 0, 60];
        let body = [&head[..], &text(client_id)].concat();
        assert_eq!(client.exchange(0x10, &body, 4).await[3], 0, "accepted");
        client
    }

    /// Sends a packet and reads the answer of known length.
    async fn exchange(&mut self, first: u8, body: &[u8], answer: usize) -> Vec<u8> {
        let length = u8::try_from(body.len()).expect("a short packet");
        assert!(length < 128);
        let packet = [&[first, length][..], body].concat();
        self.0.write_all(&packet).await.expect("the server reads");
        let mut read = vec![0; answer];
        self.0.read_exact(&mut read).await.expect("the server answers");
        read
    }

    async fn subscribe(&mut self, filter: &str) {
        let body = [&[0, 1][..], &text(filter), &[2]].concat();
        assert_eq!(self.exchange(0x82, &body, 5).await, [0x90, 3, 0, 1, 2]);
    }

    async fn publish(&mut self, topic: &str, payload: &str) {
        let body = [&text(topic)[..], &[0, 1], payload.as_bytes()].concat();
        assert_eq!(self.exchange(0x34, &body, 4).await, [0x50, 2, 0, 1]);
        assert_eq!(self.exchange(0x62, &[0, 1], 4).await, [0x70, 2, 0, 1]);
    }

    async fn disconnect(mut self) {
        self.exchange(0xE0, &[], 0).await;
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

#[tokio::test]
async fn what_an_earlier_client_left_in_the_session_at_qos_2_is_carried_once_and_leaves_it() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    for config in [
        ready_config(&mqtt, kafka).await,
        v311(ready_config(&mqtt, kafka).await),
    ] {
        let mut former = Former::connect(&mqtt, &config.mqtt.client_id, false).await;
        former.subscribe(&config.mqtt.subscriptions[0].filter).await;
        former.disconnect().await;
        let mut machine = Former::connect(&mqtt, "machine", true).await;
        for n in 0..MESSAGES {
            machine.publish(&topic_of(0), &payload(0, n)).await;
        }
        machine.disconnect().await;
        let mut bridge = Bridge::ready(&config).await;
        let perfect = Audit {
            lost: 0,
            duplicates: 0,
            disorder: 0,
        };
        assert_eq!(audit(&config, kafka, 1, MESSAGES).await.0, perfect);
        let settled = |p: &BridgeProgress| p.counters.acknowledged == MESSAGES as u64;
        let progress = bridge.wait("to settle all", settled).await;
        assert_eq!((progress.counters.connects, progress.problems.len()), (1, 0));
        bridge.stop().await;
        bridge.start_again();
        let progress = bridge.wait("to be back", BridgeProgress::subscribed).await;
        assert_eq!(progress.mqtt.session_present, Some(true));
        assert_eq!(progress.counters.received, 0, "the server holds nothing any more");
    }
}
