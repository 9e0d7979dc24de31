//! The packet dialect: requests, responses and one-way messages, both ways, over one WebSocket.
//!
//! One packet per *binary* WebSocket message, integers little-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 0–1 | `FE EF` |
//! | 2–5 | length of what follows: 8 + data length |
//! | 6–9 | protocol id: chooses the handler |
//! | 10–13 | sn: 0 is a one-way message, otherwise it ties a response to its request |
//! | 14– | data |
//!
//! A request made by the client carries an even sn (2, 4, …), one made by the server an odd one
//! (3, 5, …); the response carries the request's. So whoever receives a packet knows by the sn alone
//! what it is ([`Side::meaning`]), and the two directions never meet.
//!
//! Who a client is stands in the query of its upgrade ([`Identity`]). A connection that another with
//! the same id displaces is told so by a packet of its own ([`Displaced`]).

mod displaced;
mod identity;

pub use displaced::Displaced;
pub use identity::{Identity, MAX_ID_BYTES};

use crate::{Error, ErrorKind, Result};

/// Where a server speaks the packet dialect unless it is told otherwise.
pub const DEFAULT_PATH: &str = "/join";
/// The largest packet, header included, that a server takes unless it is told otherwise: 512 KiB.
pub const DEFAULT_MAX_BYTES: usize = 512 * 1024;
/// Bytes before a packet's data.
pub const HEADER: usize = 14;
/// The most data that the length field can tell of.
pub const MAX_DATA: usize = (u32::MAX - COUNTED) as usize;
/// The protocol id of the notice that the connection was displaced; its sn is 0.
pub const DISPLACED: u32 = 2_147_483_647;

const MAGIC: [u8; 2] = [0xfe, 0xef];
/// What the length field counts beside the data: protocol id and sn.
const COUNTED: u32 = 8;

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Chooses the handler.
    pub protocol: u32,
    /// 0 for a one-way message; see [`Side::meaning`].
    pub sn: u32,
    /// The rest; its meaning is the handler's.
    pub data: &'a [u8],
}

/// Why bytes are no packet. The connection that sent them is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Larger than the receiver takes: close code 1009.
    TooLarge,
    /// Shorter than a header, without the mark, or of another length than it says: close code 1002.
    Malformed,
}

impl<'a> Packet<'a> {
    /// Reads the packet that `bytes`, a whole binary message, is. `limit` is in bytes and counts the
    /// header.
    pub fn decode(bytes: &'a [u8], limit: usize) -> std::result::Result<Self, Fault> {
        if bytes.len() > limit {
            return Err(Fault::TooLarge);
        }
        let (header, data) = bytes.split_first_chunk::<HEADER>().ok_or(Fault::Malformed)?;
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        let counted = data.len() as u64 + u64::from(COUNTED);
        if header[..2] != MAGIC || u64::from(word(2)) != counted {
            return Err(Fault::Malformed);
        }
        Ok(Self { protocol: word(6), sn: word(10), data })
    }

    /// What stands before the data. Error: `TooLarge` for more data than [`MAX_DATA`].
    pub fn header(&self) -> Result<[u8; HEADER]> {
        if self.data.len() > MAX_DATA {
            let text = format!("Packet has {} bytes; the limit is {MAX_DATA}", self.data.len());
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        let mut header = [0; HEADER];
        header[..2].copy_from_slice(&MAGIC);
        header[2..6].copy_from_slice(&(self.data.len() as u32 + COUNTED).to_le_bytes());
        header[6..10].copy_from_slice(&self.protocol.to_le_bytes());
        header[10..].copy_from_slice(&self.sn.to_le_bytes());
        Ok(header)
    }

    /// The whole packet: one allocation, one copy of the data. Errors as [`Packet::header`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(HEADER + self.data.len());
        out.extend_from_slice(&self.header()?);
        out.extend_from_slice(self.data);
        Ok(out)
    }
}

/// Which end of the connection one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Asks with even numbers.
    Client,
    /// Asks with odd numbers.
    Server,
}

/// What a received packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// A message that wants no answer.
    OneWay,
    /// The peer asks; a response carries the same sn.
    Request,
    /// The peer answers what was asked with that sn.
    Response,
}

impl Side {
    /// The sn of this side's first request. The next ones follow in steps of 2; 0 and 1 are never
    /// used.
    pub fn first_sn(self) -> u32 {
        match self {
            Self::Client => 2,
            Self::Server => 3,
        }
    }

    /// What a packet with `sn` is for the side that receives it.
    pub fn meaning(self, sn: u32) -> Meaning {
        match (sn, sn % 2 == self.first_sn() % 2) {
            (0, _) => Meaning::OneWay,
            (_, true) => Meaning::Response,
            (_, false) => Meaning::Request,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &[u8] = b"\xfe\xef\x0a\0\0\0\x04\x03\x02\x01\x02\0\0\0hi";

    #[test]
    fn the_layout_is_the_table() {
        let packet = Packet { protocol: 0x01020304, sn: 2, data: b"hi" };
        assert_eq!(packet.encode().unwrap(), EXAMPLE);
        assert_eq!(Packet::decode(EXAMPLE, 16), Ok(packet));
    }

    #[test]
    fn the_limit_counts_the_whole_packet() {
        assert_eq!(Packet::decode(EXAMPLE, 15), Err(Fault::TooLarge));
        assert!(Packet::decode(EXAMPLE, EXAMPLE.len()).is_ok());
    }

    #[test]
    fn every_cut_and_every_wrong_length_is_malformed() {
        for cut in 0..EXAMPLE.len() {
            assert_eq!(Packet::decode(&EXAMPLE[..cut], 99), Err(Fault::Malformed), "{cut}");
        }
        let longer = [EXAMPLE, b"!"].concat();
        assert_eq!(Packet::decode(&longer, 99), Err(Fault::Malformed));
        for at in 0..6 {
            let mut bytes = EXAMPLE.to_vec();
            bytes[at] ^= 0x80;
            assert_eq!(Packet::decode(&bytes, 99), Err(Fault::Malformed), "{at}");
        }
        // A length that would be right if the arithmetic wrapped.
        let mut bytes = EXAMPLE[..HEADER].to_vec();
        bytes[2..6].copy_from_slice(&0u32.to_le_bytes());
        assert_eq!(Packet::decode(&bytes, 99), Err(Fault::Malformed));
    }

    #[test]
    fn the_sn_alone_says_what_a_packet_is() {
        use Meaning::{OneWay, Request, Response};
        for (sn, at_client, at_server) in [
            (0, OneWay, OneWay),
            (1, Request, Response),
            (2, Response, Request),
            (3, Request, Response),
            (u32::MAX, Request, Response),
            (u32::MAX - 1, Response, Request),
        ] {
            assert_eq!(Side::Client.meaning(sn), at_client, "{sn}");
            assert_eq!(Side::Server.meaning(sn), at_server, "{sn}");
        }
    }

    proptest! {
        #[test]
        fn packets_survive_the_wire(protocol: u32, sn: u32, data: Vec<u8>) {
            let packet = Packet { protocol, sn, data: &data };
            let bytes = packet.encode().unwrap();
            prop_assert_eq!(bytes.len(), HEADER + data.len());
            prop_assert_eq!(Packet::decode(&bytes, bytes.len()), Ok(packet));
        }

        #[test]
        fn what_is_accepted_is_what_would_be_written(bytes: Vec<u8>, marked: bool) {
            let mut bytes = bytes;
            if marked && bytes.len() >= HEADER {
                let counted = (bytes.len() - 6) as u32;
                bytes[..2].copy_from_slice(&MAGIC);
                bytes[2..6].copy_from_slice(&counted.to_le_bytes());
            }
            if let Ok(packet) = Packet::decode(&bytes, usize::MAX) {
                prop_assert_eq!(packet.encode().unwrap(), bytes);
            }
        }
    }
}
