//! The private bytes of a request.

/// Plain data that lies in a request's PDU: what a driver has to remember of a request between two
/// events. It is the shell's memory, so it survives a swap, and the next driver may adopt it.
///
/// Derive it: `#[derive(Clone, Copy, Pdu)] #[repr(C)] #[pdu(schema = "file/1")]`.
///
/// # Safety
/// Any bytes are a valid value, all zeroes among them; the type is `repr(C)` or a primitive, and
/// holds no pointer.
pub unsafe trait Pdu: Copy + 'static {
    /// `NAME/N`: changes with the layout or the meaning. Empty: the driver keeps nothing.
    const SCHEMA: &'static str = "";
}

macro_rules! plain {
    ($($t:ty)*) => { $(
        // SAFETY: any bytes are a valid integer (or nothing at all, for the unit type).
        unsafe impl Pdu for $t {}
    )* };
}
plain!(() u8 u16 u32 u64 i8 i16 i32 i64);

// SAFETY: an array is its elements, one after the other.
unsafe impl<T: Pdu, const N: usize> Pdu for [T; N] {}
