//! Reading and writing of fields whose length stands before them.

/// Why a target's bytes cannot be what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed answer: {0}")]
pub struct Malformed(pub &'static str);

const SHORT: Malformed = Malformed("it ends inside a field");

/// Takes fields off the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*chunk)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.chunk().map(|[byte]: [u8; 1]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.chunk().map(u16::from_be_bytes)
    }

    pub(crate) fn u24(&mut self) -> Result<usize, Malformed> {
        self.chunk()
            .map(|[high, middle, low]: [u8; 3]| usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.chunk().map(u32::from_be_bytes)
    }

    /// A field behind its length of one byte.
    pub(crate) fn field8(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.u8()?;
        self.take(usize::from(bytes))
    }

    /// A field behind its length of two bytes.
    pub(crate) fn field16(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.u16()?;
        self.take(usize::from(bytes))
    }

    /// A field behind its length of three bytes.
    pub(crate) fn field24(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.u24()?;
        self.take(bytes)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// Appends what `write` writes, behind its length of `N` bytes. What does not fit loses the length's upper bytes, and the target
/// refuses it; our own messages are short.
pub(crate) fn sized<const N: usize>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; N]);
    write(out);
    let length = (out.len() - start - N).to_be_bytes();
    out[start..start + N].copy_from_slice(&length[length.len() - N..]);
}

/// Appends numbers of two bytes.
pub(crate) fn put_u16s(out: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|value| out.extend(value.to_be_bytes()));
}
