//! Names that can stand in a configuration file.

/// What a port may be called.
pub(crate) const PORT_NAME: &str = "1 to 64 letters, digits, '_' and '-', the first a letter or digit";
/// What a parameter may be called, as in a manifest.
pub(crate) const PARAM_NAME: &str = "1 to 64 lower-case letters, digits, '_' and '-', a letter first";

/// What a profile may be called.
pub(crate) const PROFILE_NAME: &str = "1 to 64 lower-case letters, digits, '_' and '-', a letter first";

/// Whether a port may have that name.
///
/// # Errors
/// What is allowed.
pub fn check_port_name(name: &str) -> Result<(), &'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let begins_well = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if begins_well && name.len() <= 64 && name.bytes().all(plain) { Ok(()) } else { Err(PORT_NAME) }
}

/// Whether a parameter may have that name.
///
/// # Errors
/// What is allowed.
pub fn check_param_name(name: &str) -> Result<(), &'static str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    let begins_well = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if begins_well && name.len() <= 64 && name.bytes().all(plain) { Ok(()) } else { Err(PARAM_NAME) }
}

/// Whether a profile may have that name.
pub(crate) fn check_profile_name(name: &str) -> Result<(), &'static str> {
    // The same as a parameter's: it is a file's name without surprises.
    check_param_name(name).map_err(|_| PROFILE_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_shell::manifest::check_driver_name;

    #[test]
    fn names_are_such_that_they_need_no_quotes() {
        for good in ["vol0", "0", "San-0_a"] {
            assert!(check_port_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "a.b", "ä", &"x".repeat(65)] {
            assert!(check_port_name(bad).is_err(), "{bad}");
        }
        assert!(check_param_name("io_slots").is_ok() && check_param_name("io-slots").is_ok());
        for bad in ["", "IO", "0a", "_a", "a.b"] {
            assert!(check_param_name(bad).is_err(), "{bad}");
        }
        assert!(check_driver_name("my-disk").is_ok());
        for bad in ["", "../file", "instances", "File"] {
            assert!(check_driver_name(bad).is_err(), "{bad}");
        }
    }
}
