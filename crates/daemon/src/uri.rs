//! NBD URIs, as clients take them.

use steadfast_nbd::ListenAddr;

/// The URI of an export at an address.
pub(crate) fn of(address: &ListenAddr, export: &str) -> String {
    match address {
        ListenAddr::Unix(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!("nbd+unix:///{}?socket={}", escape(export, ""), escape(&path.to_string_lossy(), "/"))
        }
        ListenAddr::Tcp(address) => format!("nbd://{address}/{}", escape(export, "")),
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
        let unix = ListenAddr::Unix("/run/my socket".into());
        assert_eq!(of(&unix, "vol0"), "nbd+unix:///vol0?socket=/run/my%20socket");
        let tcp = ListenAddr::Tcp("127.0.0.1:10809".parse().expect("an address"));
        assert_eq!(of(&tcp, "vol0"), "nbd://127.0.0.1:10809/vol0");
    }
}
