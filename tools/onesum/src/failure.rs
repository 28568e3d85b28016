//! How a command ends when it does not end well: one line and an exit code.

use std::fmt;
use std::str::FromStr;

/// Why a command stops.
#[derive(Debug)]
pub enum Failure {
    /// Exit code 1.
    Error(String),
    /// Exit code 2.
    Usage(String),
    /// Exit code 3.
    OutsideBudget(String),
    /// Exit code 3.
    Regression(String),
    /// Exit code 130, as a shell has it.
    Interrupted(String),
    /// Whoever read standard output has seen enough (`| head`): quiet, exit code 0.
    PipeClosed,
}

impl Failure {
    /// An error (exit code 1) with this message.
    pub fn error(message: impl Into<String>) -> Self {
        Self::Error(message.into())
    }

    /// A usage error (exit code 2) with this message.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::PipeClosed => 0,
            Self::Error(_) => 1,
            Self::Usage(_) => 2,
            Self::OutsideBudget(_) | Self::Regression(_) => 3,
            Self::Interrupted(_) => 130,
        }
    }

    /// The one line for standard error, if there is anything to say.
    pub fn line(&self) -> Option<String> {
        match self {
            Self::PipeClosed => None,
            Self::Error(message)
            | Self::Usage(message)
            | Self::OutsideBudget(message)
            | Self::Regression(message)
            | Self::Interrupted(message) => Some(one_line(message)),
        }
    }
}

/// Everything that the library, the file formats and the system complain about is an ordinary error.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.to_string())
    }
}

/// A variant, by the name that the command line gives it.
pub fn variant<V: FromStr<Err: fmt::Display>>(name: &str) -> Result<V, Failure> {
    name.parse().map_err(|e: V::Err| Failure::usage(e.to_string()))
}

/// Drivers and compilers like to write paragraphs; a user of a shell wants a line.
pub fn one_line(message: impl fmt::Display) -> String {
    message.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line() {
        assert_eq!(Failure::error("a\n\n  b\tc\n").line().unwrap(), "a b c");
        assert_eq!(Failure::PipeClosed.line(), None);
    }
}
