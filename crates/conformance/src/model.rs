//! The naive model: what a stretch of the device must hold.

/// A stretch of a device, byte by byte, as far as it is known.
pub(crate) struct Model {
    start: u64,
    bytes: Vec<u8>,
    known: Vec<bool>,
}

impl Model {
    /// `len` bytes at `start`, of which nothing is known.
    pub(crate) fn new(start: u64, len: usize) -> Model {
        Model { start, bytes: vec![0; len], known: vec![false; len] }
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn range(&self, offset: u64, len: usize) -> std::ops::Range<usize> {
        let from = (offset - self.start) as usize;
        from..from + len
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let range = self.range(offset, data.len());
        self.bytes[range.clone()].copy_from_slice(data);
        self.known[range].fill(true);
    }

    pub(crate) fn zero(&mut self, offset: u64, len: u64) {
        let range = self.range(offset, len as usize);
        self.bytes[range.clone()].fill(0);
        self.known[range].fill(true);
    }

    /// The range may hold anything: it was trimmed, or writing it failed half-way.
    pub(crate) fn forget(&mut self, offset: u64, len: u64) {
        let range = self.range(offset, len as usize);
        self.known[range].fill(false);
    }

    /// Compares what was read.
    pub(crate) fn check(&self, offset: u64, data: &[u8]) -> Result<(), String> {
        let range = self.range(offset, data.len());
        let (bytes, known) = (&self.bytes[range.clone()], &self.known[range]);
        let wrong = (0..data.len()).find(|i| known[*i] && bytes[*i] != data[*i]);
        match wrong {
            None => Ok(()),
            Some(i) => Err(format!(
                "byte {} of the device reads {:#04x}, {:#04x} was written (within a read of {} bytes at {offset})",
                offset + i as u64,
                data[i],
                bytes[i],
                data.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Model;

    #[test]
    fn it_knows_what_was_written_and_nothing_else() {
        let mut model = Model::new(100, 10);
        assert!(model.check(100, &[9; 10]).is_ok());
        model.write(102, &[1, 2]);
        assert!(model.check(100, &[9, 9, 1, 2, 9]).is_ok());
        assert!(model.check(103, &[3]).unwrap_err().starts_with("byte 103 of the device reads 0x03, 0x02"));
        model.zero(102, 1);
        assert!(model.check(102, &[0, 2]).is_ok());
        model.forget(102, 2);
        assert!(model.check(102, &[7, 7]).is_ok());
    }
}
