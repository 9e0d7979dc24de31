//! Input that arrives in pieces: how it is cut is part of what is fuzzed.

/// Chooses where to cut. The same number always cuts the same way: 0 not at all, 1 behind every
/// byte.
pub struct Cuts(u64);

impl Cuts {
    pub fn new(number: u8) -> Self {
        Self(number.into())
    }

    /// How much of `left` bytes comes next; at least one if there is one.
    pub fn next(&mut self, left: usize) -> usize {
        match self.0 {
            0 => left,
            1 => left.min(1),
            _ => {
                self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Small pieces and large ones alike.
                let bits = (self.0 >> 40) % 11;
                let size = 1 + (self.0 >> 48) % (1 << bits);
                left.min(size as usize)
            }
        }
    }

    /// All pieces of `bytes`.
    pub fn pieces(mut self, mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(self.next(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}

/// The first byte, which steers the target, and the rest; `None` for nothing at all.
pub fn steered(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(&first, rest)| (first, rest))
}
