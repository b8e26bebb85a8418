use super::*;
use crate::telemetry::Redacted;

const BOTH: [Codec; 2] = [Codec(Protocol::V311), Codec(Protocol::V5)];

fn read_v4(packet: &v4::Packet) -> Result<Incoming, CodecError> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, usize::MAX).unwrap();
    Codec(Protocol::V311).read(&mut bytes)
}

fn read_v5(packet: &v5::Packet) -> Result<Incoming, CodecError> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, None).unwrap();
    Codec(Protocol::V5).read(&mut bytes)
}

#[test]
fn connect_asks_for_the_session_and_bounds_what_is_in_flight() {
    let connect = Connect {
        client_id: "bridge".into(),
        keep_alive: 30,
        clean: false,
        session_expiry: 604_800,
        receive_maximum: 4096,
        login: Some(("user".into(), Redacted::new("secret"))),
    };
    let mut bytes = BytesMut::new();
    Codec(Protocol::V5).connect(&connect, &mut bytes).unwrap();
    let v5::Packet::Connect(c, None, auth) = v5::Packet::read(&mut bytes, None).unwrap() else {
        panic!()
    };
    assert!(!c.clean_start);
    let properties = c.properties.unwrap();
    assert_eq!(properties.session_expiry_interval, Some(604_800));
    assert_eq!(properties.receive_maximum, Some(4096));
    assert_eq!(
        properties.max_packet_size, None,
        "a server drops silently what is larger"
    );
    let expected = v5::ConnectAuth::UsernamePassword {
        username: "user".into(),
        password: "secret".into(),
    };
    assert_eq!(auth, expected);

    Codec(Protocol::V311).connect(&connect, &mut bytes).unwrap();
    let v4::Packet::Connect(c) = v4::Packet::read(&mut bytes, usize::MAX).unwrap() else {
        panic!()
    };
    assert!(!c.clean_session);
    assert_eq!((c.client_id.as_str(), c.keep_alive), ("bridge", 30));
}

#[test]
fn subscribe_and_unsubscribe_carry_every_filter() {
    for codec in BOTH {
        let mut bytes = BytesMut::new();
        let wanted = [("a/+", 1, false), ("b/#", 0, true)].map(|(filter, qos, stored_again)| Subscription {
            filter,
            qos,
            stored_again,
        });
        codec.subscribe(7, &wanted, &mut bytes).unwrap();
        codec.unsubscribe(8, &["old/#"], &mut bytes).unwrap();
        match codec.0 {
            Protocol::V311 => {
                let v4::Packet::Subscribe(s) = v4::Packet::read(&mut bytes, 1000).unwrap() else {
                    panic!()
                };
                let filters: Vec<_> = s.filters.iter().map(|f| (f.path.as_str(), f.qos as u8)).collect();
                assert_eq!((s.pkid, filters), (7, vec![("a/+", 1), ("b/#", 0)]));
                let v4::Packet::Unsubscribe(u) = v4::Packet::read(&mut bytes, 1000).unwrap() else {
                    panic!()
                };
                assert_eq!((u.pkid, u.topics), (8, vec!["old/#".to_owned()]));
            }
            Protocol::V5 => {
                use v5::RetainForwardRule::{OnEverySubscribe, OnNewSubscribe};
                let v5::Packet::Subscribe(s) = v5::Packet::read(&mut bytes, None).unwrap() else {
                    panic!()
                };
                let filters: Vec<_> = s.filters.iter().map(|f| (f.path.as_str(), f.qos as u8)).collect();
                assert_eq!((s.pkid, filters), (7, vec![("a/+", 1), ("b/#", 0)]));
                let stored: Vec<_> = s.filters.iter().map(|f| &f.retain_forward_rule).collect();
                assert_eq!(stored, [&OnNewSubscribe, &OnEverySubscribe]);
                let v5::Packet::Unsubscribe(u) = v5::Packet::read(&mut bytes, None).unwrap() else {
                    panic!()
                };
                assert_eq!((u.pkid, u.filters), (8, vec!["old/#".to_owned()]));
            }
        }
        assert!(bytes.is_empty());
    }
}

#[test]
fn the_short_packets_are_what_the_codecs_read() {
    let mut bytes = BytesMut::new();
    Codec::acknowledge(Receipt { pkid: 513, qos: 1 }, &mut bytes);
    Codec::acknowledge(Receipt { pkid: 514, qos: 2 }, &mut bytes);
    Codec::pubcomp(515, &mut bytes);
    Codec::ping(&mut bytes);
    Codec::disconnect(&mut bytes);
    let mut copy = bytes.clone();
    assert_eq!(
        v4::Packet::read(&mut bytes, 100).unwrap(),
        v4::Packet::PubAck(v4::PubAck::new(513))
    );
    assert_eq!(
        v4::Packet::read(&mut bytes, 100).unwrap(),
        v4::Packet::PubRec(v4::PubRec::new(514))
    );
    assert_eq!(
        v4::Packet::read(&mut bytes, 100).unwrap(),
        v4::Packet::PubComp(v4::PubComp::new(515))
    );
    assert_eq!(v4::Packet::read(&mut bytes, 100).unwrap(), v4::Packet::PingReq);
    assert_eq!(v4::Packet::read(&mut bytes, 100).unwrap(), v4::Packet::Disconnect);
    assert_eq!(
        v5::Packet::read(&mut copy, None).unwrap(),
        v5::Packet::PubAck(v5::PubAck::new(513, None))
    );
    assert_eq!(
        v5::Packet::read(&mut copy, None).unwrap(),
        v5::Packet::PubRec(v5::PubRec::new(514, None))
    );
    assert_eq!(
        v5::Packet::read(&mut copy, None).unwrap(),
        v5::Packet::PubComp(v5::PubComp::new(515, None))
    );
    assert_eq!(v5::Packet::read(&mut copy, None).unwrap(), v5::Packet::PingReq);
    assert!(matches!(
        v5::Packet::read(&mut copy, None).unwrap(),
        v5::Packet::Disconnect(_)
    ));
}

#[test]
fn refusals_tell_credentials_from_other_causes() {
    use v4::ConnectReturnCode as C4;
    use v5::ConnectReturnCode as C5;
    for (code, credentials) in [
        (C4::BadUserNamePassword, true),
        (C4::NotAuthorized, true),
        (C4::BadClientId, false),
    ] {
        let packet = v4::Packet::ConnAck(v4::ConnAck::new(code, false));
        let Incoming::ConnAck(ack) = read_v4(&packet).unwrap() else {
            panic!()
        };
        assert_eq!(ack.result.unwrap_err().credentials, credentials);
    }
    for (code, credentials) in [
        (C5::BadUserNamePassword, true),
        (C5::Banned, true),
        (C5::ServerBusy, false),
    ] {
        let packet = v5::Packet::ConnAck(v5::ConnAck {
            session_present: false,
            code,
            properties: None,
        });
        let Incoming::ConnAck(ack) = read_v5(&packet).unwrap() else {
            panic!()
        };
        assert_eq!(ack.result.unwrap_err().credentials, credentials);
    }
    let accepted = v4::Packet::ConnAck(v4::ConnAck::new(C4::Success, true));
    let Incoming::ConnAck(ack) = read_v4(&accepted).unwrap() else {
        panic!()
    };
    assert!(ack.session_present && ack.result.is_ok());
}

#[test]
fn every_suback_code_is_seen() {
    use v4::SubscribeReasonCode as S4;
    use v5::SubscribeReasonCode as S5;
    let v4_codes = vec![S4::Success(rumqttc_v4::QoS::AtLeastOnce), S4::Failure];
    let Incoming::SubAck { pkid, granted } =
        read_v4(&v4::Packet::SubAck(v4::SubAck::new(9, v4_codes))).unwrap()
    else {
        panic!()
    };
    assert_eq!(
        (pkid, granted),
        (9, vec![Ok(1), Err("refused (0x80)".to_owned())])
    );
    let return_codes = vec![S5::Success(rumqttc_v5::QoS::AtMostOnce), S5::NotAuthorized];
    let packet = v5::Packet::SubAck(v5::SubAck {
        pkid: 9,
        return_codes,
        properties: None,
    });
    let Incoming::SubAck { granted, .. } = read_v5(&packet).unwrap() else {
        panic!()
    };
    assert_eq!(granted, [Ok(0), Err("NotAuthorized".to_owned())]);
}

#[test]
fn of_very_many_user_properties_the_first_are_kept_and_the_others_take_no_memory() {
    let mut p = v5::Publish::new("a", rumqttc_v5::QoS::AtLeastOnce, "x", None);
    p.pkid = 1;
    p.properties = Some(v5::PublishProperties {
        user_properties: (0..10_000).map(|i| (i.to_string(), String::new())).collect(),
        ..Default::default()
    });
    let Incoming::Publish(m) = read_v5(&v5::Packet::Publish(p)).unwrap() else {
        panic!()
    };
    let user = m.properties.unwrap().user;
    let names: Vec<String> = user.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, (0..32).map(|i| i.to_string()).collect::<Vec<_>>());
    assert!(user.capacity() < 64);
}

#[test]
fn what_version_5_adds_to_a_message_is_kept() {
    let mut p = v5::Publish::new("a", rumqttc_v5::QoS::AtLeastOnce, "x", None);
    p.pkid = 1;
    p.properties = Some(v5::PublishProperties {
        content_type: Some("application/json".into()),
        user_properties: vec![("k".into(), "v".into())],
        message_expiry_interval: Some(5),
        ..Default::default()
    });
    let Incoming::Publish(m) = read_v5(&v5::Packet::Publish(p.clone())).unwrap() else {
        panic!()
    };
    let properties = m.properties.unwrap();
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.user, [("k".to_owned(), "v".to_owned())]);
    p.properties = Some(v5::PublishProperties {
        message_expiry_interval: Some(5),
        ..Default::default()
    });
    let Incoming::Publish(m) = read_v5(&v5::Packet::Publish(p)).unwrap() else {
        panic!()
    };
    assert_eq!(m.properties, None);
}

#[test]
fn a_server_that_speaks_like_a_client_is_an_error() {
    let mut subscribe = v4::Subscribe::new("a", rumqttc_v4::QoS::AtMostOnce);
    subscribe.pkid = 1;
    assert!(read_v4(&v4::Packet::Subscribe(subscribe)).is_err());
    assert!(read_v5(&v5::Packet::PingReq).is_err());
}

#[test]
fn a_release_is_read_with_its_packet_id_whatever_its_reason() {
    let v4 = read_v4(&v4::Packet::PubRel(v4::PubRel::new(7)));
    assert_eq!(v4, Ok(Incoming::PubRel { pkid: 7 }));
    for packet in [&[0x62_u8, 2, 0, 7][..], &[0x62, 3, 0, 7, 0x92]] {
        let read = Codec(Protocol::V5).read(&mut BytesMut::from(packet));
        assert_eq!(read, Ok(Incoming::PubRel { pkid: 7 }));
    }
}

#[test]
fn a_topic_that_is_not_utf8_is_an_error() {
    let mut bytes = BytesMut::from(&[0x30, 0x04, 0x00, 0x01, 0xFF, b'x'][..]);
    assert!(Codec(Protocol::V311).read(&mut bytes).is_err());
}

#[test]
fn a_publish_is_read_back_as_it_was_sent() {
    for codec in BOTH {
        for qos in [0, 1] {
            let mut bytes = BytesMut::new();
            let publish = Publish {
                topic: "factory/line1/dev7",
                payload: Bytes::from_static(b"{}"),
                qos,
            };
            codec.publish(publish, 9, &mut bytes).unwrap();
            let Incoming::Publish(message) = codec.read(&mut bytes).unwrap() else {
                panic!()
            };
            assert_eq!((message.topic.as_str(), message.qos), ("factory/line1/dev7", qos));
            assert_eq!(
                (&message.payload[..], message.pkid),
                (&b"{}"[..], u16::from(qos) * 9)
            );
            assert!(bytes.is_empty());
        }
    }
}

#[test]
fn a_topic_with_a_wildcard_is_not_sent() {
    for codec in BOTH {
        let publish = Publish {
            topic: "a/+",
            payload: Bytes::new(),
            qos: 1,
        };
        let mut bytes = BytesMut::from("before");
        assert!(codec.publish(publish, 1, &mut bytes).is_err());
        assert_eq!(bytes, "before", "nothing of it reaches the stream");
    }
}

#[test]
fn a_puback_tells_taken_from_unheard_and_refused() {
    let ack = |reason| {
        read_v5(&v5::Packet::PubAck(v5::PubAck {
            pkid: 3,
            reason,
            properties: None,
        }))
    };
    for (reason, result) in [
        (v5::PubAckReason::Success, Ok(Accepted::Taken)),
        (
            v5::PubAckReason::NoMatchingSubscribers,
            Ok(Accepted::NoSubscriber),
        ),
        (v5::PubAckReason::NotAuthorized, Err("NotAuthorized".to_owned())),
    ] {
        assert_eq!(ack(reason), Ok(Incoming::PubAck { pkid: 3, result }));
    }
    let taken = Incoming::PubAck {
        pkid: 3,
        result: Ok(Accepted::Taken),
    };
    let ack = v4::Packet::PubAck(v4::PubAck { pkid: 3 });
    assert_eq!(read_v4(&ack), Ok(taken));
}
