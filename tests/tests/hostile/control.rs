//! A hostile client of the control socket: HTTP and JSON, with one thing wrong at a time. It asks for nothing that
//! would be carried out: the module, the port, the value or the form is always wrong.

use crate::rng::Rng;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use steadfast_tests::Result;

const PATHS: &[&str] = &[
    "/v1/devices/vol0/update",
    "/v1/devices/none/update",
    "/v1/ports/vol0/params",
    "/v1/ports/none/activate",
    "/v1/ports/vol0/rollback",
    "/v1/adapters",
    "/v1/devices",
    "/v1/receipts?limit=x",
    "/v1/receipts?port=%ff%00",
    "/v1/events",
    "/v1/health",
    "/v1/openapi.json",
    "/v1/../../etc/passwd",
    "//",
    "*",
];

const BODIES: &[&str] = &[
    "",
    "{",
    "[]",
    "null",
    "{\"module\": 7}",
    "{\"module\": \"/nonexistent.so\"}",
    "{\"module\": \"/dev/zero\"}",
    "{\"module\": \"../../../etc/passwd\", \"mode\": \"adopt\"}",
    "{\"set\": {\"io_throttle\": \"-1\"}}",
    "{\"set\": {\"nonsense\": \"1\"}}",
    "{\"set\": {\"io_throttle\": [1, {}]}}",
    "{\"to\": 18446744073709551616}",
    "{\"name\": \"a/b\", \"driver\": \"ram\"}",
];

/// One visit.
pub(crate) fn visit(socket: &Path, rng: &mut Rng) -> Result {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.set_write_timeout(Some(Duration::from_millis(500)))?;
    for _ in 0..=rng.below(3) {
        let method = rng.pick(&["GET", "POST", "PUT", "DELETE", "PATCH", "BREW", ""]);
        let mut body = rng.pick(BODIES).as_bytes().to_vec();
        if rng.once_in(4) {
            rng.damage(&mut body);
        }
        if rng.once_in(10) {
            body = [b"{\"module\": \"".as_slice(), &vec![b'a'; 1 << 20], b"\"}"].concat();
        }
        // What is carried out when it is well formed is never asked for.
        let path = if method == "DELETE" { "/v1/devices/none" } else { rng.pick(PATHS) };
        let length = match rng.below(8) {
            0 => u64::MAX.to_string(),
            1 => "-1".to_owned(),
            2 => (body.len() + 100).to_string(),
            _ => body.len().to_string(),
        };
        let kind = rng.pick(&["application/json", "application/json", "text/plain", "\u{1}"]);
        let mut bytes = format!(
            "{method} {path} HTTP/1.1\r\nHost: steadfast\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        if rng.once_in(6) {
            rng.damage(&mut bytes);
        }
        bytes.extend(body);
        if rng.once_in(6) {
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
        }
        stream.write_all(&bytes)?;
        if !rng.once_in(3) {
            let _ = stream.read(&mut [0; 4096])?;
        }
    }
    Ok(())
}
