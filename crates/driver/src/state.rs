//! Typed state: what a driver leaves with the shell for the next one.

use crate::{Errno, Error, Result};
use minicbor::Encoder;
use minicbor::encode::write::{Cursor, EndOfSlice};

pub use minicbor;

/// The state of a driver: written at `disconnect` in every schema that it knows, read at `connect`
/// in the best schema that is there. Derive it:
///
/// ```
/// # use steadfast_driver::State;
/// #[derive(State)]
/// #[state(schema = "file/1")]
/// struct FileState1 {
///     size: u64,
/// }
///
/// #[derive(State)]
/// #[state(schema = "file/2", also(FileState1))]
/// struct FileState2 {
///     size: u64,
///     /// Newer than the schema: read as its default where it is missing.
///     #[state(default)]
///     merged: u64,
/// }
/// # impl From<FileState1> for FileState2 { fn from(s: FileState1) -> Self { Self { size: s.size, merged: 0 } } }
/// # impl From<&FileState2> for FileState1 { fn from(s: &FileState2) -> Self { Self { size: s.size } } }
/// ```
///
/// `also(OLDER, …)` names older forms: `From<OLDER>` reads them and `From<&Self> for OLDER` writes
/// them. Encoded as a CBOR map with text keys: unknown keys are passed over, a missing key is an
/// error unless the field has `#[state(default)]`.
pub trait State: Sized {
    /// Schemas it can write, best first.
    const WRITES: &'static [&'static str];
    /// Schemas it can read, best first.
    const READS: &'static [&'static str];
    /// Writes each schema through `sink`.
    fn save(&self, sink: &mut dyn FnMut(&str, &[u8]) -> Result<()>) -> Result<()>;
    /// Reads the best schema that `source` has; `None` when it has none of them.
    fn load<'b>(source: &dyn Fn(&str) -> Result<Option<&'b [u8]>>) -> Result<Option<Self>>;
}

/// No state.
impl State for () {
    const WRITES: &'static [&'static str] = &[];
    const READS: &'static [&'static str] = &[];
    fn save(&self, _: &mut dyn FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
        Ok(())
    }
    fn load<'b>(_: &dyn Fn(&str) -> Result<Option<&'b [u8]>>) -> Result<Option<Self>> {
        Ok(None)
    }
}

/// Where a state is encoded to: a buffer on the stack, because `disconnect` is within the pause.
#[doc(hidden)]
pub type Sink<'a> = Encoder<Cursor<&'a mut [u8]>>;

/// One schema of a state; derived together with [`State`].
pub trait Schema: Sized {
    /// `NAME/N`.
    const SCHEMA: &'static str;
    /// Encodes the value.
    fn encode(&self, sink: &mut Sink<'_>) -> Result<(), minicbor::encode::Error<EndOfSlice>>;
    /// Decodes a value.
    fn decode(bytes: &[u8]) -> Result<Self, minicbor::decode::Error>;
}

/// Most bytes of one schema that the SDK writes.
const MAX_BYTES: usize = 8 * 1024;

/// Encodes one schema into `sink`; for the derived code.
#[doc(hidden)]
pub fn save_schema<S: Schema>(state: &S, sink: &mut dyn FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = [0u8; MAX_BYTES];
    let mut encoder = Encoder::new(Cursor::new(&mut buffer[..]));
    state.encode(&mut encoder).map_err(|e| {
        Error::new(Errno::NOSPC, format!("state {}: longer than {MAX_BYTES} bytes: {e}", S::SCHEMA))
    })?;
    let len = encoder.writer().position();
    sink(S::SCHEMA, &buffer[..len])
}

/// Decodes one schema if it is there; for the derived code.
#[doc(hidden)]
pub fn load_schema<'b, S: Schema>(source: &dyn Fn(&str) -> Result<Option<&'b [u8]>>) -> Result<Option<S>> {
    let Some(bytes) = source(S::SCHEMA)? else { return Ok(None) };
    let state =
        S::decode(bytes).map_err(|e| Error::new(Errno::PROTO, format!("state {}: {e}", S::SCHEMA)))?;
    Ok(Some(state))
}
