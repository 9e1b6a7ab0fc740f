//! The font of PDFs.

mod settings;

use std::{fmt, fs, path::Path, sync::Arc};

use krilla::text::Font;
use skrifa::{
    FontRef, MetadataProvider as _,
    instance::{LocationRef, Size},
};

pub(super) use settings::InvoiceFontSettings;

/// DejaVu Sans, which has the Latin, Greek and Cyrillic scripts. Its licence is beside it.
const EMBEDDED: &[u8] = include_bytes!("../../fonts/DejaVuSans.ttf");

/// A font, with what it takes to measure texts. Cheap to clone.
#[derive(Clone)]
pub(super) struct InvoiceFont {
    font: Font,
    data: Arc<Vec<u8>>,
}

impl InvoiceFont {
    /// Reads the font of a file, or the built-in one.
    ///
    /// # Errors
    /// A message that says what is wrong with the file.
    pub(super) fn load(path: Option<&Path>) -> Result<Self, String> {
        let (data, place) = match path {
            None => (EMBEDDED.to_vec(), "the built-in font".to_owned()),
            Some(path) => {
                let data =
                    fs::read(path).map_err(|error| format!("the font {} can't be read: {error}", path.display()))?;
                (data, format!("the font {}", path.display()))
            }
        };
        let data = Arc::new(data);
        if FontRef::new(&data).is_err() {
            return Err(format!("{place} is neither TrueType nor OpenType"));
        }
        let font = Font::new(Arc::clone(&data).into(), 0).ok_or_else(|| format!("{place} has no usable glyphs"))?;
        Ok(Self { font, data })
    }

    pub(super) fn font(&self) -> Font {
        self.font.clone()
    }

    /// Returns the width of texts in a size, in points.
    pub(super) fn measure(&self, size: f32) -> impl Fn(&str) -> f32 + '_ {
        // It was one when it was loaded.
        let parsed = FontRef::new(&self.data).ok();
        move |text| {
            let Some(font) = &parsed else { return 0.0 };
            let (glyphs, metrics) = (font.charmap(), font.glyph_metrics(Size::new(size), LocationRef::default()));
            let width = |character: char| glyphs.map(character).and_then(|glyph| metrics.advance_width(glyph));
            text.chars().filter_map(width).sum()
        }
    }
}

impl fmt::Debug for InvoiceFont {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvoiceFont")
    }
}
