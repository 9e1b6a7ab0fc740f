//! The error that `main` returns, and errors of any type.

use std::{error::Error, fmt};

/// A boxed error of any type.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The error that ended the program. `main` prints its error with `Debug`, so `Debug` writes text for people: the
/// message and its causes.
pub struct RunError(BoxError);

/// The result of `main` and of [`AppBuilder::run`](crate::app::AppBuilder::run).
pub type Result<T, E = RunError> = std::result::Result<T, E>;

impl RunError {
    /// Creates an error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into().into())
    }
}

impl<E: Into<BoxError>> From<E> for RunError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, "\n  because: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// The beginning of the error of a job or delivery that panicked.
pub(crate) const PANICKED: &str = "panicked: ";

/// Returns the message of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
