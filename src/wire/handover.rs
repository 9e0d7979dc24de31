//! How one process writes down for the next what it serves: numbers little-endian, bytes and texts
//! behind their length, lists behind their count.
//!
//! Each concept writes and reads itself, next to what it is. Whoever changes what is written
//! changes [`FORMAT`]: two processes hand over only when theirs is the same.

/// The number of the format. It changes with anything that is written, and with the files of a store.
pub const FORMAT: u32 = 2;

/// Bytes that are written one thing after the other.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// What was written, which begins anew.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    /// What was written so far.
    pub fn bytes_so_far(&self) -> &[u8] {
        &self.0
    }

    /// A byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A size or a count, as eight bytes.
    pub fn size(&mut self, value: usize) {
        self.u64(value as u64);
    }

    /// A byte that is 0 or 1.
    pub fn flag(&mut self, value: bool) {
        self.u8(value.into());
    }

    /// A length and so many bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.size(value.len());
        self.0.extend_from_slice(value);
    }

    /// A length and so many bytes of UTF-8.
    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// Whether there is one, and then the thing, as `write` does it.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// A count, and each thing as `write` does it.
    pub fn list<T>(
        &mut self,
        values: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.size(values.len());
        values.for_each(|value| write(self, value));
    }
}

/// What was written, read in the same order. `None` everywhere means that it is not that.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// As [`Writer::u8`].
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// As [`Writer::u32`].
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// As [`Writer::u64`].
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// As [`Writer::size`].
    pub fn size(&mut self) -> Option<usize> {
        usize::try_from(self.u64()?).ok()
    }

    /// As [`Writer::flag`].
    pub fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// As [`Writer::bytes`].
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.size()?;
        self.take(len)
    }

    /// As [`Writer::text`].
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// As [`Writer::option`].
    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.flag()? {
            true => read(self).map(Some),
            false => Some(None),
        }
    }

    /// As [`Writer::list`]. Takes no more memory than what is there: a count alone claims nothing.
    pub fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.size()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(read(self)?);
        }
        Some(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(7);
        out.u32(1 << 30);
        out.u64(u64::MAX);
        out.flag(true);
        out.text("青云");
        out.option(Some(5), Writer::u64);
        out.option(None, Writer::u64);
        out.list([1u64, 2, 3].into_iter(), Writer::u64);
        out.take()
    }

    fn read(bytes: &[u8]) -> Option<()> {
        let mut input = Reader::new(bytes);
        assert_eq!(input.u8()?, 7);
        assert_eq!(input.u32()?, 1 << 30);
        assert_eq!(input.u64()?, u64::MAX);
        assert!(input.flag()?);
        assert_eq!(input.text()?, "青云");
        assert_eq!(input.option(Reader::u64)?, Some(5));
        assert_eq!(input.option(Reader::u64)?, None);
        assert_eq!(input.list(Reader::u64)?, [1, 2, 3]);
        assert!(input.is_at_end());
        Some(())
    }

    #[test]
    fn what_is_written_is_read_and_a_part_of_it_is_not() {
        let bytes = written();
        assert_eq!(read(&bytes), Some(()));
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), None, "{end}");
        }
    }

    #[test]
    fn a_count_or_a_length_alone_claims_nothing() {
        let huge = [0xff; 8];
        assert_eq!(Reader::new(&huge).list(Reader::u8), None);
        assert_eq!(Reader::new(&huge).bytes(), None);
        assert_eq!(Reader::new(&[2]).flag(), None);
        assert_eq!(Reader::new(&[1, 0, 0, 0, 0, 0, 0, 0, 0xff]).text(), None);
    }
}
