//! NBD URIs, as clients take them.

use std::net::IpAddr;
use steadfast_nbd::BoundAddr;

/// The URI of an export at an address. Where every address of the machine is listened on, it is the one that works on
/// the machine itself; elsewhere its name takes that place.
pub(crate) fn of(address: &BoundAddr, export: &str) -> String {
    match address {
        BoundAddr::Unix(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!("nbd+unix:///{}?socket={}", escape(export, ""), escape(&path.to_string_lossy(), "/"))
        }
        BoundAddr::Tcp(address) if is_wildcard(address.ip()) => {
            format!("nbd://localhost:{}/{}", address.port(), escape(export, ""))
        }
        BoundAddr::Tcp(address) => format!("nbd://{address}/{}", escape(export, "")),
    }
}

fn is_wildcard(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_unspecified(),
    }
}

fn escape(text: &str, keep: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || keep.contains(c) {
            escaped.push(c);
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_survives_odd_paths() {
        let unix = BoundAddr::Unix("/run/my socket".into());
        assert_eq!(of(&unix, "vol0"), "nbd+unix:///vol0?socket=/run/my%20socket");
        let tcp = BoundAddr::Tcp("127.0.0.1:10809".parse().expect("an address"));
        assert_eq!(of(&tcp, "vol0"), "nbd://127.0.0.1:10809/vol0");
    }

    #[test]
    fn a_wildcard_is_no_place_to_connect_to() {
        for (address, uri) in [
            ("[::]:10809", "nbd://localhost:10809/vol0"),
            ("0.0.0.0:10810", "nbd://localhost:10810/vol0"),
            ("[::1]:10809", "nbd://[::1]:10809/vol0"),
        ] {
            assert_eq!(of(&BoundAddr::Tcp(address.parse().expect("an address")), "vol0"), uri);
        }
    }
}
