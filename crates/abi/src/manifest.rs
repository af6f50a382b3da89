//! The manifest: what a driver says of itself, readable without running it.
//!
//! The section [`MANIFEST_SECTION`](crate::MANIFEST_SECTION) holds entries `key=value`, UTF-8, each
//! ended by a NUL byte, in any order. Empty entries (padding) are passed over. The first entry whose
//! key is [`VERSION`] must be `manifest=1`. Keys that a reader does not know are passed over when
//! they begin with `x-`, and are otherwise refused, so that a misspelt key is never silent.
//!
//! | key | value | times |
//! |---|---|---|
//! | `manifest` | `1` | once |
//! | `name` | lower-case letters, digits, `-`; 1 to 32 of them; not `devices`, `instances` or `profiles` | once |
//! | `version` | semantic version | once |
//! | `class` | `block` | once |
//! | `abi` | `MAJOR.MINOR` that the driver was built against | once |
//! | `about` | one line for people | at most once |
//! | `hwid` | hardware id the driver serves, `bus:id` with `*` as wildcard, `@MIN-MAX` revisions behind it | any |
//! | `state.write` | state schema it can write, `NAME/N`; best first | any |
//! | `state.read` | state schema it can read, best first | any |
//! | `pdu` | `SCHEMA:BYTES`: schema and size of its private bytes per request | at most once |
//! | `pdu.adopt` | PDU schema of another driver whose requests it can take over in flight | any |
//! | `memory.port` | `NEEDED:WANTED` bytes of arena per port | at most once |
//! | `memory.queue` | `NEEDED:WANTED` bytes of arena per queue of a port | at most once |
//! | `ops` | operations in flight per request, 0 to 16 (default 1) | at most once |
//! | `port-ops` | operations in flight that belong to no request, timers included, 0 to 1024 (default 0), per queue | at most once |
//! | `feature` | a name from [`block_feature`](crate::block_feature) that the driver can offer | any |
//! | `min_from` | oldest version of the same driver that it can update from | at most once |
//! | `param.NAME` | `bool`, `u32`, `u64`, `i64`, `size`, `str`, `path`, or `enum` | any |
//! | `param.NAME.range` | `MIN..=MAX`, or `a,b,c` for `enum` | at most once each |
//! | `param.NAME.default` | value when undefined | at most once each |
//! | `param.NAME.required` | `true`: has no default and must be given | at most once each |
//! | `param.NAME.unit` | unit for people | at most once each |
//! | `param.NAME.class` | `live`, `reinit` (default) or `reload` | at most once each |
//! | `param.NAME.scope` | `port` (default) or `adapter` | at most once each |
//! | `param.NAME.help` | one line for people | at most once each |
//! | `data` | `mapped` (default): the driver looks at requests' data in the data buffer; `segments`: it names data in operations only, and asks with [`map_data`](crate::ShellOps::map_data) for what it looks at. Since ABI 1.2 | at most once |
//! | `x-state` | `cbor`: the state is a CBOR map with text keys, in every schema; the shell then checks it when it is handed on | at most once |

/// Key of the manifest's own format version, and its only value so far.
pub const VERSION: &str = "manifest";
/// The format version described here.
pub const FORMAT: &str = "1";
/// Longest manifest that a reader accepts, bytes.
pub const MAX_BYTES: usize = 64 * 1024;
