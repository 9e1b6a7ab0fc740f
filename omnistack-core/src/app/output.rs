//! Standard output of the commands.

use std::{
    fmt,
    io::{self, Write as _},
};

use crate::RunError;

/// Writes one line to standard output. Ignores a closed pipe, such as that of `head`: the command runs to its end,
/// and its exit status stays correct.
///
/// # Errors
/// Fails if the line can't be written, for example because the disk is full.
pub(super) fn print_line(text: fmt::Arguments<'_>) -> crate::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(RunError::new(format!("can't write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
