//! The binary formats: the stream protocol, packets and their protobuf, gRPC's requests.

use prost::Message;
use qyun::wire::members;
use qyun::wire::packet::{self, Displaced, Fault, Packet, Side};
use qyun::wire::stream::{self, Op};

/// What is read is written as the same again, and reads as the same.
pub fn stream(input: &[u8]) {
    if let Some(request) = stream::decode_request(input) {
        let mut out = Vec::new();
        stream::encode_request(&mut out, &request);
        assert_eq!(stream::decode_request(&out), Some(request));
        // But for the flags, whose other bits mean nothing.
        assert_eq!(out.len(), input.len());
        if let Op::Publish(_, payload) = request.op {
            assert!(input.ends_with(payload));
        }
    }
    match stream::decode_packet(input) {
        Some(stream::Packet::Reply(reply)) => {
            let mut out = Vec::new();
            stream::encode_reply(&mut out, &reply);
            assert_eq!(stream::decode_packet(&out), Some(stream::Packet::Reply(reply)));
        }
        Some(stream::Packet::Message { channel, offset, kind, payload }) => {
            let header = stream::message_header(channel, offset, kind);
            let out = [&header[..], payload].concat();
            let message = stream::Packet::Message { channel, offset, kind, payload };
            assert_eq!(stream::decode_packet(&out), Some(message));
        }
        Some(gone @ stream::Packet::Gone { channel }) => {
            assert_eq!(stream::decode_packet(&stream::gone(channel)), Some(gone));
        }
        None => {}
    }
    if let Some(call) = members::decode_call(input) {
        let mut out = Vec::new();
        members::encode_call(&mut out, &call);
        assert_eq!(members::decode_call(&out), Some(call));
        assert_eq!(out.len(), input.len());
    }
    if let Some(notice) = members::decode_notice(input) {
        let mut out = Vec::new();
        members::encode_notice(&mut out, &notice);
        assert_eq!(members::decode_notice(&out), Some(notice));
    }
}

/// As protoc would have it.
#[derive(Clone, PartialEq, Message)]
struct Notice {
    #[prost(bytes = "vec", tag = "1")]
    old_ip: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    new_ip: Vec<u8>,
    #[prost(int64, tag = "3")]
    ts: i64,
}

/// A packet is exactly its bytes; the notice is what prost reads.
pub fn packet(input: &[u8]) {
    let limit = 4096;
    match Packet::decode(input, limit) {
        Ok(packet) => {
            assert_eq!(packet.encode().unwrap(), input);
            assert_eq!(packet.data.len(), input.len() - packet::HEADER);
            let _ = (Side::Client.meaning(packet.sn), Side::Server.meaning(packet.sn));
            notice(packet.data);
        }
        Err(Fault::TooLarge) => assert!(input.len() > limit),
        Err(Fault::Malformed) => {}
    }
    notice(input);
}

fn notice(input: &[u8]) {
    let ours = Displaced::decode(input);
    // prost knows groups besides, which nobody writes any more; a number of more than 64 bits is a
    // fault there and cut here.
    if let (Some(ours), Ok(theirs)) = (ours, Notice::decode(input)) {
        assert_eq!((ours.old_ip, ours.new_ip), (&*theirs.old_ip, &*theirs.new_ip));
        assert_eq!(ours.ts, theirs.ts);
    }
    if let Some(ours) = ours {
        let written = ours.encode();
        assert_eq!(Displaced::decode(&written), Some(ours));
        let theirs = Notice::decode(&*written).unwrap();
        assert_eq!(theirs.ts, ours.ts);
        assert_eq!(theirs.encode_to_vec(), written);
    }
}

/// A request of gRPC is two texts or an error.
pub fn grpc(input: &[u8]) {
    let _ = qyun::server::fuzzing::grpc_arguments(input);
}
