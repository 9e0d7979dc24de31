//! Requests and replies as protobuf. No request has more than two fields, all of them strings, and
//! there are five shapes of replies; which field is called what is the [`super::schema`]'s.

use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The fields 1 and 2 of a request; one that is missing is empty.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Arguments {
    #[prost(string, tag = "1")]
    pub first: String,
    #[prost(string, tag = "2")]
    pub second: String,
}

/// What a method gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Flag(bool),
    Sent(bool, i32),
    Count(i32),
    List(Vec<String>),
    Text(String),
}

#[derive(Clone, PartialEq, Message)]
struct Flag {
    #[prost(bool, tag = "1")]
    value: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Sent {
    #[prost(bool, tag = "1")]
    result: bool,
    #[prost(int32, tag = "2")]
    arrive: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Count {
    #[prost(int32, tag = "1")]
    count: i32,
}

#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(string, repeated, tag = "1")]
    values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(string, tag = "1")]
    value: String,
}

/// Between bytes and the above.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Protobuf;

impl Codec for Protobuf {
    type Encode = Reply;
    type Decode = Arguments;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Protobuf {
    type Item = Reply;
    type Error = Status;

    fn encode(&mut self, reply: Reply, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let written = match reply {
            Reply::Flag(value) => Flag { value }.encode(out),
            Reply::Sent(result, arrive) => Sent { result, arrive }.encode(out),
            Reply::Count(count) => Count { count }.encode(out),
            Reply::List(values) => List { values }.encode(out),
            Reply::Text(value) => Text { value }.encode(out),
        };
        written.map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Protobuf {
    type Item = Arguments;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Arguments>, Status> {
        let arguments = Arguments::decode(bytes);
        arguments.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
