//! What commands write to standard output.

use std::{
    fmt,
    io::{self, Write as _},
};

use crate::Failure;

/// Writes one line to standard output. A pipe whose reader has ended, as `head` does, takes no more and is no failure:
/// the command goes on to its end, and its exit status stays true.
///
/// # Errors
/// The line can't be written, for example because the disk is full.
pub(super) fn print_line(text: fmt::Arguments<'_>) -> crate::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("can't write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
