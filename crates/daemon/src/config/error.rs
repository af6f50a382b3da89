use std::fmt;
use std::path::PathBuf;
use steadfast_shell::properties::Source;

/// Where something was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the command line, in this option.
    Option(String),
    /// In a file as a whole.
    File(PathBuf),
    /// In a file, at a line and column counted from 1.
    Line(PathBuf, usize, usize),
    /// Where a parameter was said.
    Said(Source),
}

impl Place {
    /// The same, as the source of a property.
    pub(crate) fn source(&self) -> Source {
        match self {
            Place::Option(text) => Source::Option { text: text.clone() },
            Place::Said(source) => source.clone(),
            Place::File(path) => Source::File { path: path.display().to_string(), line: 1 },
            Place::Line(path, line, _) => {
                let line = u32::try_from(*line).unwrap_or(u32::MAX);
                Source::File { path: path.display().to_string(), line }
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Option(option) => f.write_str(option),
            Place::Said(source) => source.fmt(f),
            Place::File(file) => write!(f, "{}", file.display()),
            Place::Line(file, line, column) => write!(f, "{}:{line}:{column}", file.display()),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// What: the thing, the value, what is allowed.
    pub message: String,
}

impl ConfigError {
    /// An error at a place.
    pub fn new(place: Place, message: impl Into<String>) -> ConfigError {
        ConfigError { place, message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong with the configuration, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> ConfigErrors {
        ConfigErrors(vec![error])
    }
}
