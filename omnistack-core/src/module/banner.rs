//! The text that `serve` and `worker` print at startup.

use std::fmt::{self, Write as _};

type LineText = Box<dyn Fn() -> String + Send + Sync>;

/// Lines of labels and texts, in columns.
#[derive(Default)]
pub(crate) struct Banner {
    lines: Vec<(&'static str, LineText)>,
}

impl Banner {
    pub(crate) fn line(&mut self, label: &'static str, text: impl Fn() -> String + Send + Sync + 'static) {
        self.lines.push((label, Box::new(text)));
    }

    /// Returns the title and each line whose text is not empty.
    pub(crate) fn render(&self, title: &str) -> String {
        let mut screen = format!("\n  {title}\n\n");
        for (label, text) in &self.lines {
            let text = text();
            if !text.is_empty() {
                _ = writeln!(screen, "  {label:<14}{text}");
            }
        }
        screen
    }
}

impl fmt::Debug for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines.iter().map(|(label, _)| label)).finish()
    }
}
