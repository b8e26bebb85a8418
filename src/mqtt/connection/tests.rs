use super::*;
use rumqttc_v4::mqttbytes::v4;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

fn options() -> SessionOptions {
    SessionOptions {
        protocol: Protocol::V311,
        client_id: "bridge".into(),
        keep_alive: 40,
        session_expiry: 0,
        receive_maximum: 10,
        max_payload: 1000,
        clean: false,
    }
}

const NO_CREDENTIALS: Credentials = Credentials {
    login: None,
    tls: None,
};

async fn listen() -> (TcpListener, ServerAddress) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (
        listener,
        ServerAddress {
            tls: false,
            host: "127.0.0.1".into(),
            port,
        },
    )
}

/// The next packet that the client sends.
async fn packet(stream: &mut TcpStream, buffer: &mut BytesMut) -> v4::Packet {
    loop {
        match v4::Packet::read(buffer, usize::MAX) {
            Ok(packet) => return packet,
            Err(rumqttc_v4::mqttbytes::Error::InsufficientBytes(_)) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "the client closed");
    }
}

/// As [`connected`], in version 5.
async fn connected_v5() -> (Connection, TcpStream) {
    let (listener, address) = listen().await;
    let options = SessionOptions {
        protocol: Protocol::V5,
        ..options()
    };
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut connect = [0; 2];
        stream.read_exact(&mut connect).await.unwrap();
        assert_eq!(connect[0], 0x10, "CONNECT");
        let mut body = vec![0; connect[1].into()];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(&[0x20, 3, 1, 0, 0]).await.unwrap();
        stream
    };
    let (client, stream) = tokio::join!(Connection::open(&address, &options, &NO_CREDENTIALS), server);
    (client.unwrap().0, stream)
}

/// DISCONNECT with the reason 0x8E, "session taken over".
const fn qos_1(pkid: u16) -> Receipt {
    Receipt { pkid, qos: 1 }
}

const TAKEN_OVER: [u8; 4] = [0xE0, 2, 0x8E, 0];

#[tokio::test]
async fn a_session_that_another_client_has_taken_over_is_told_as_that() {
    let (mut connection, mut stream) = connected_v5().await;
    stream.write_all(&TAKEN_OVER).await.unwrap();
    let Err(error @ MqttError::TakenOver { .. }) = connection.next(true).await else {
        panic!()
    };
    let text = error.to_string();
    assert!(
        text.contains("mqtt.clientId \"bridge\"") && text.contains("give each"),
        "{text}"
    );
}

#[tokio::test]
async fn what_the_server_said_before_it_closed_counts_although_writing_failed_first() {
    for reading in [true, false] {
        let (mut connection, mut stream) = connected_v5().await;
        connection.acknowledge(qos_1(1));
        tokio::select! {
            ended = connection.next(false) => panic!("{ended:?}"),
            ready = stream.readable() => ready.unwrap(),
        }
        // A message, and the reason behind it; closed with our acknowledgement unread, the connection is reset.
        let publish = [0x32, 7, 0, 1, b'a', 0, 9, 0, b'x'];
        let said = [&publish[..], &TAKEN_OVER].concat();
        stream.write_all(&said).await.unwrap();
        drop(stream);
        connection.acknowledge(qos_1(2));
        let mut ended = connection.next(reading).await;
        while ended.is_ok() {
            ended = connection.next(reading).await;
        }
        assert!(matches!(ended, Err(MqttError::TakenOver { .. })), "{ended:?}");
    }
}

async fn connected() -> (Connection, TcpStream, BytesMut) {
    let (listener, address) = listen().await;
    let options = options();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = BytesMut::new();
        assert!(matches!(
            packet(&mut stream, &mut buffer).await,
            v4::Packet::Connect(_)
        ));
        stream.write_all(&[0x20, 2, 1, 0]).await.unwrap();
        (stream, buffer)
    };
    let (client, (stream, buffer)) =
        tokio::join!(Connection::open(&address, &options, &NO_CREDENTIALS), server);
    let (connection, ack) = client.unwrap();
    assert!(ack.session_present);
    (connection, stream, buffer)
}

async fn refused_with(answer: &'static [u8]) -> MqttError {
    let (listener, address) = listen().await;
    let options = options();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = BytesMut::new();
        packet(&mut stream, &mut buffer).await;
        stream.write_all(answer).await.unwrap();
    };
    tokio::join!(Connection::open(&address, &options, &NO_CREDENTIALS), server)
        .0
        .unwrap_err()
}

#[tokio::test]
async fn every_way_of_not_connecting_has_its_own_error() {
    assert!(matches!(
        refused_with(&[0x20, 2, 0, 4]).await,
        MqttError::CredentialsRefused { .. }
    ));
    assert!(matches!(
        refused_with(&[0x20, 2, 0, 2]).await,
        MqttError::Refused { .. }
    ));
    assert!(matches!(
        refused_with(b"HTTP/1.1 400 Bad Request\r\n").await,
        MqttError::Protocol { .. }
    ));
    assert!(matches!(refused_with(b"").await, MqttError::Closed { .. }));
    let nobody = ServerAddress {
        tls: false,
        host: "127.0.0.1".into(),
        port: 1,
    };
    let error = Connection::open(&nobody, &options(), &NO_CREDENTIALS)
        .await
        .unwrap_err();
    assert!(matches!(error, MqttError::Unreachable { .. }), "{error}");
    let unknown = ServerAddress {
        tls: false,
        host: "no-such-host.invalid".into(),
        port: 1883,
    };
    let error = Connection::open(&unknown, &options(), &NO_CREDENTIALS)
        .await
        .unwrap_err();
    assert!(matches!(error, MqttError::NameUnknown { .. }), "{error}");
}

#[tokio::test]
async fn acknowledgements_leave_in_order_and_before_the_disconnect() {
    let (mut connection, mut stream, mut buffer) = connected().await;
    for pkid in [3, 1, 2] {
        connection.acknowledge(qos_1(pkid));
    }
    connection.close().await;
    for pkid in [3, 1, 2] {
        assert_eq!(
            packet(&mut stream, &mut buffer).await,
            v4::Packet::PubAck(v4::PubAck::new(pkid))
        );
    }
    assert_eq!(packet(&mut stream, &mut buffer).await, v4::Packet::Disconnect);
}

#[tokio::test]
async fn the_last_acknowledgements_arrive_although_the_server_goes_on_sending() {
    let (mut connection, mut stream, mut buffer) = connected().await;
    let publish = [0x32, 6, 0, 1, b'a', 0, 9, b'x'];
    stream.write_all(&publish.repeat(1000)).await.unwrap();
    for pkid in 1..=1000 {
        connection.acknowledge(qos_1(pkid));
    }
    let server = async {
        for pkid in 1..=1000 {
            // A client that closed without reading would have reset the connection by now.
            stream.write_all(&publish).await.unwrap();
            let expected = v4::Packet::PubAck(v4::PubAck::new(pkid));
            assert_eq!(packet(&mut stream, &mut buffer).await, expected);
        }
        assert_eq!(packet(&mut stream, &mut buffer).await, v4::Packet::Disconnect);
        drop(stream);
    };
    tokio::join!(connection.close(), server);
}

#[tokio::test]
async fn at_qos_2_each_release_is_completed_at_once_also_one_that_nobody_knows() {
    let (mut connection, mut stream, mut buffer) = connected().await;
    let publish = [0x34, 6, 0, 1, b'a', 0, 9, b'x'];
    // An earlier process took number 8.
    stream
        .write_all(&[&[0x62, 2, 0, 8][..], &publish].concat())
        .await
        .unwrap();
    let Incoming::Publish(message) = connection.next(true).await.unwrap() else {
        panic!()
    };
    connection.acknowledge(message.receipt().unwrap());
    let server = async {
        let completed = v4::Packet::PubComp(v4::PubComp::new(8));
        assert_eq!(packet(&mut stream, &mut buffer).await, completed);
        let received = v4::Packet::PubRec(v4::PubRec::new(9));
        assert_eq!(packet(&mut stream, &mut buffer).await, received);
        stream.write_all(&[0x62, 2, 0, 9]).await.unwrap();
        let completed = v4::Packet::PubComp(v4::PubComp::new(9));
        assert_eq!(packet(&mut stream, &mut buffer).await, completed);
    };
    tokio::select! {
        ended = connection.next(true) => panic!("{ended:?}"),
        () = server => {}
    }
}

#[tokio::test]
async fn nothing_is_read_while_paused_but_acknowledgements_and_pings_go_out() {
    let (mut connection, mut stream, mut buffer) = connected().await;
    tokio::time::pause();
    let publish = [0x32, 6, 0, 1, b'a', 0, 9, b'x'];
    stream.write_all(&publish).await.unwrap();
    connection.acknowledge(qos_1(7));
    let seen = async {
        assert_eq!(
            packet(&mut stream, &mut buffer).await,
            v4::Packet::PubAck(v4::PubAck::new(7))
        );
        // The clock moves by itself: each ping comes three quarters of the keep alive after the one before.
        for _ in 0..5 {
            assert_eq!(packet(&mut stream, &mut buffer).await, v4::Packet::PingReq);
        }
    };
    tokio::select! {
        ended = connection.next(false) => panic!("{ended:?}"),
        () = seen => {}
    }
    // No answer to the pings was read, and that is no reason to give up; now the message is there.
    let Incoming::Publish(message) = connection.next(true).await.unwrap() else {
        panic!()
    };
    assert_eq!((message.topic.as_str(), message.pkid), ("a", 9));
}

#[tokio::test]
async fn a_server_that_answers_pings_is_kept_and_one_that_does_not_is_left() {
    let (mut connection, mut stream, mut buffer) = connected().await;
    tokio::time::pause();
    let answered = async {
        for _ in 0..3 {
            assert_eq!(packet(&mut stream, &mut buffer).await, v4::Packet::PingReq);
            stream.write_all(&[0xD0, 0]).await.unwrap();
        }
        assert_eq!(packet(&mut stream, &mut buffer).await, v4::Packet::PingReq);
    };
    let (ended, ()) = tokio::join!(connection.next(true), answered);
    assert!(
        matches!(ended, Err(MqttError::Timeout { doing: "pinging", .. })),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_steady_stream_that_asks_for_no_acknowledgement_does_not_starve_the_pings() {
    let (mut connection, mut stream, mut buffer) = connected().await;
    tokio::time::pause();
    let (mut reader, mut writer) = stream.split();
    let flood = async {
        loop {
            writer.write_all(&[0x30, 4, 0, 1, b'a', b'x']).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let receive = async {
        loop {
            assert!(matches!(connection.next(true).await, Ok(Incoming::Publish(_))));
        }
    };
    let ping = async {
        while !buffer.ends_with(&[0xC0, 0]) {
            reader.read_buf(&mut buffer).await.unwrap();
        }
    };
    tokio::select! {
        () = flood => {}
        () = receive => {}
        () = ping => {}
    }
}

#[tokio::test]
async fn the_end_of_the_stream_is_reported_as_such() {
    let (mut connection, stream, _) = connected().await;
    drop(stream);
    assert!(matches!(
        connection.next(true).await,
        Err(MqttError::Closed { .. } | MqttError::Broken { .. })
    ));
}
