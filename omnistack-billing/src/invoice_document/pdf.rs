//! The invoice as a PDF.

#[cfg(feature = "factur-x")]
use std::collections::BTreeSet;
use std::iter;

#[cfg(feature = "factur-x")]
use jiff::tz::TimeZone;
use krilla::{
    Document, SerializeSettings,
    error::KrillaResult,
    geom::{PathBuilder, Point},
    metadata::Metadata,
    page::PageSettings,
    paint::Stroke,
    surface::Surface,
    text::TextDirection,
};
#[cfg(feature = "factur-x")]
use krilla::{
    configure::{Archival, ConfigurationBuilder, ValidationError},
    error::KrillaError,
    metadata::DateTime,
};
use omnistack_core::BoxError;
#[cfg(feature = "factur-x")]
use omnistack_core::clock::Timestamp;

use super::{
    font::InvoiceFont,
    view::{DocumentView, LineView},
};

/// The size of A4, in points.
const PAGE_WIDTH: f32 = 595.0;
const PAGE_HEIGHT: f32 = 842.0;
const MARGIN: f32 = 50.0;
/// The right edges of the columns of numbers: quantity, price, tax and net amount.
const COLUMNS: [f32; 4] = [355.0, 430.0, 475.0, PAGE_WIDTH - MARGIN];
/// The width of the descriptions.
const DESCRIPTION_WIDTH: f32 = 220.0;
/// The lowest line of text of a page.
const LAST_LINE: f32 = PAGE_HEIGHT - 70.0;
const TEXT_SIZE: f32 = 9.0;
const TITLE_SIZE: f32 = 16.0;
const LINE_HEIGHT: f32 = 13.0;

/// A text at its left or right edge, or a rule across the page.
#[derive(Clone, Debug, PartialEq)]
enum PdfMark {
    Left { x: f32, y: f32, size: f32, text: String },
    Right { x: f32, y: f32, text: String },
    Rule { y: f32 },
}

/// Returns the PDF.
///
/// # Errors
/// The error of the PDF writer.
pub(super) fn render(view: &DocumentView, font: &InvoiceFont) -> Result<Vec<u8>, BoxError> {
    let pdf = write(view, font, SerializeSettings::default(), metadata(view))?;
    pdf.map_err(|error| error.to_string().into())
}

/// Returns the PDF in the form that archives keep and that can contain files: PDF/A-3 of the level B (ISO 19005-3).
/// This form forbids characters that the font lacks: if there are any, the inner result is an error with them.
///
/// # Errors
/// The error of the PDF writer.
#[cfg(feature = "factur-x")]
pub(super) fn render_archival(
    view: &DocumentView,
    font: &InvoiceFont,
    created_at: Timestamp,
) -> Result<Result<Vec<u8>, BTreeSet<String>>, BoxError> {
    let configuration = ConfigurationBuilder::new().with_archival_validator(Archival::A3_B).finish();
    let configuration = configuration.map_err(|error| format!("{error:?}"))?;
    let settings = SerializeSettings { configuration, ..SerializeSettings::default() };
    match write(view, font, settings, metadata(view).creation_date(date_time(created_at)?))? {
        Ok(pdf) => Ok(Ok(pdf)),
        Err(KrillaError::Validation(errors)) => {
            let lacking = errors.into_iter().map(|(error, _)| match error {
                ValidationError::ContainsNotDefGlyph(_, _, text) => Ok(text),
                _ => Err("the PDF breaks a rule of PDF/A-3".into()),
            });
            lacking.collect::<Result<_, BoxError>>().map(Err)
        }
        Err(error) => Err(error.to_string().into()),
    }
}

fn metadata(view: &DocumentView) -> Metadata {
    Metadata::new().title(view.title.clone()).language("en".to_owned())
}

#[cfg(feature = "factur-x")]
fn date_time(at: Timestamp) -> Result<DateTime, BoxError> {
    let at = TimeZone::UTC.to_datetime(at.to_jiff());
    let date = DateTime::new(u16::try_from(at.year())?).month(u8::try_from(at.month())?).day(u8::try_from(at.day())?);
    let time = date.hour(u8::try_from(at.hour())?).minute(u8::try_from(at.minute())?);
    Ok(time.second(u8::try_from(at.second())?).utc_offset_hour(0))
}

fn write(
    view: &DocumentView,
    font: &InvoiceFont,
    settings: SerializeSettings,
    metadata: Metadata,
) -> Result<KrillaResult<Vec<u8>>, BoxError> {
    let pages = Layout::new(font).pages(view);
    let mut document = Document::new_with(settings);
    document.set_metadata(metadata);
    let settings = PageSettings::from_wh(PAGE_WIDTH, PAGE_HEIGHT).ok_or("the size of a page is invalid")?;
    for marks in &pages {
        let mut page = document.start_page_with(settings.clone());
        let mut surface = page.surface();
        for mark in marks {
            draw(&mut surface, mark, font);
        }
        surface.finish();
        page.finish();
    }
    Ok(document.finish())
}

fn draw(surface: &mut Surface<'_>, mark: &PdfMark, font: &InvoiceFont) {
    let mut write = |x: f32, y: f32, size: f32, text: &str| {
        surface.draw_text(Point::from_xy(x, y), font.font(), size, text, false, TextDirection::Auto);
    };
    match mark {
        PdfMark::Left { x, y, size, text } => write(*x, *y, *size, text),
        PdfMark::Right { x, y, text } => write(*x - font.measure(TEXT_SIZE)(text), *y, TEXT_SIZE, text),
        PdfMark::Rule { y } => {
            let mut path = PathBuilder::new();
            path.move_to(MARGIN, *y);
            path.line_to(PAGE_WIDTH - MARGIN, *y);
            if let Some(path) = path.finish() {
                surface.set_stroke(Some(Stroke { width: 0.5, ..Stroke::default() }));
                surface.draw_path(&path);
                surface.set_stroke(None);
            }
        }
    }
}

/// Places the texts of a document on pages.
struct Layout<'a> {
    font: &'a InvoiceFont,
    pages: Vec<Vec<PdfMark>>,
    page: Vec<PdfMark>,
    y: f32,
}

impl<'a> Layout<'a> {
    fn new(font: &'a InvoiceFont) -> Self {
        Self { font, pages: Vec::new(), page: Vec::new(), y: MARGIN + TITLE_SIZE }
    }

    fn pages(mut self, view: &DocumentView) -> Vec<Vec<PdfMark>> {
        let top = self.y;
        for line in &view.customer {
            self.left(MARGIN, line);
            self.y += LINE_HEIGHT;
        }
        let below_customer = self.y;
        self.y = top;
        for line in &view.seller {
            self.right(COLUMNS[3], line);
            self.y += LINE_HEIGHT;
        }
        self.y = self.y.max(below_customer) + 2.0 * LINE_HEIGHT;
        self.page.push(PdfMark::Left { x: MARGIN, y: self.y, size: TITLE_SIZE, text: view.title.clone() });
        self.y += 1.5 * LINE_HEIGHT;
        for (label, value) in &view.facts {
            self.left(MARGIN, &format!("{label}: {value}"));
            self.y += LINE_HEIGHT;
        }
        self.y += LINE_HEIGHT;
        self.table_head();
        for line in &view.lines {
            self.line(line);
        }
        self.rule();
        for (label, amount) in &view.totals {
            self.reserve(1);
            self.right(COLUMNS[1] + 20.0, label);
            self.right(COLUMNS[3], amount);
            self.y += LINE_HEIGHT;
        }
        self.y += LINE_HEIGHT;
        for note in &view.notes {
            for line in wrap(note, PAGE_WIDTH - 2.0 * MARGIN, self.font.measure(TEXT_SIZE)) {
                self.reserve(1);
                self.left(MARGIN, &line);
                self.y += LINE_HEIGHT;
            }
        }
        self.pages.push(std::mem::take(&mut self.page));
        let count = self.pages.len();
        for (index, page) in self.pages.iter_mut().enumerate() {
            let text = format!("{} – page {} of {count}", view.title, index + 1);
            page.push(PdfMark::Right { x: COLUMNS[3], y: PAGE_HEIGHT - 35.0, text });
        }
        self.pages
    }

    fn table_head(&mut self) {
        self.left(MARGIN, "Description");
        for (x, text) in COLUMNS.into_iter().zip(["Quantity", "Unit price", "Tax", "Net"]) {
            self.right(x, text);
        }
        self.y += 5.0;
        self.rule();
    }

    fn line(&mut self, line: &LineView) {
        let described = wrap(&line.description, DESCRIPTION_WIDTH, self.font.measure(TEXT_SIZE));
        if self.reserve(described.len()) {
            self.table_head();
        }
        for (x, text) in COLUMNS.into_iter().zip([&line.quantity, &line.price, &line.tax, &line.net]) {
            self.right(x, text);
        }
        for text in described {
            self.left(MARGIN, &text);
            self.y += LINE_HEIGHT;
        }
    }

    /// Begins a page if the present one has no room for so many lines. Returns whether it has.
    fn reserve(&mut self, lines: usize) -> bool {
        let height: f32 = iter::repeat_n(LINE_HEIGHT, lines).sum();
        if self.y + height <= LAST_LINE + LINE_HEIGHT {
            return false;
        }
        self.pages.push(std::mem::take(&mut self.page));
        self.y = MARGIN + TITLE_SIZE;
        true
    }

    fn left(&mut self, x: f32, text: &str) {
        self.page.push(PdfMark::Left { x, y: self.y, size: TEXT_SIZE, text: text.to_owned() });
    }

    fn right(&mut self, x: f32, text: &str) {
        self.page.push(PdfMark::Right { x, y: self.y, text: text.to_owned() });
    }

    fn rule(&mut self) {
        self.page.push(PdfMark::Rule { y: self.y });
        self.y += LINE_HEIGHT;
    }
}

/// Breaks a text into lines of a width, between words, and within words that are wider. It has at least one line.
fn wrap(text: &str, width: f32, measure: impl Fn(&str) -> f32) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word = word;
        loop {
            let last = lines.last_mut();
            let Some(line) = last else { break };
            let joined = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
            if measure(&joined) <= width {
                *line = joined;
                break;
            }
            if !line.is_empty() {
                lines.push(String::new());
                continue;
            }
            // The longest beginning that fits, at least a character.
            let fits = |end: &usize| measure(&word[..*end]) <= width;
            let ends: Vec<usize> = word.char_indices().map(|(at, first)| at + first.len_utf8()).collect();
            let end = ends.iter().copied().take_while(fits).last().or(ends.first().copied()).unwrap_or(word.len());
            word[..end].clone_into(line);
            word = &word[end..];
            if word.is_empty() {
                break;
            }
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(lines: usize) -> DocumentView {
        let text = |text: &str| text.to_owned();
        let line = LineView {
            description: text("Usage: gpu hours of the cluster in Frankfurt, 2030-06-01 to 2030-06-30, less 1.00 EUR"),
            quantity: text("1.5 hours"),
            price: text("0.0025"),
            tax: text("19 %"),
            net: text("12.00"),
        };
        DocumentView {
            title: text("Invoice INV-000017"),
            seller: vec![text("Müller & Söhne GmbH"), text("Straße 1")],
            customer: vec![text("Ελλάδα ΑΕ"), text("Київ")],
            facts: vec![("Date", text("2030-07-01"))],
            lines: vec![line; lines],
            totals: vec![(text("Amount due"), text("14.28 EUR"))],
            notes: vec![text("Reverse charge")],
        }
    }

    #[test]
    fn a_long_invoice_has_several_pages() {
        let font = InvoiceFont::load(None).unwrap();
        for (lines, pages) in [(1, 1), (10, 1), (200, 5)] {
            let view = view(lines);
            let found = Layout::new(&font).pages(&view).len();
            assert!(if lines < 100 { found == pages } else { found >= pages }, "{lines}: {found}");
            let pdf = render(&view, &font).unwrap();
            assert!(pdf.starts_with(b"%PDF-") && pdf.len() > 1000);
        }
    }

    #[test]
    fn texts_are_wrapped_between_words() {
        let measure = |text: &str| text.chars().map(|_| 1.0).sum::<f32>();
        for (text, lines) in [
            ("", vec![""]),
            ("one", vec!["one"]),
            ("one two three", vec!["one two", "three"]),
            ("extraordinarily long", vec!["extraord", "inarily", "long"]),
            ("a überüberüber", vec!["a", "überüber", "über"]),
        ] {
            assert_eq!(wrap(text, 8.0, measure), lines, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_no_font_is_refused() {
        assert!(InvoiceFont::load(Some("Cargo.toml".as_ref())).unwrap_err().contains("neither TrueType nor OpenType"));
        assert!(InvoiceFont::load(Some("nowhere.ttf".as_ref())).unwrap_err().contains("can't be read"));
    }
}
