//! The settings of the font of PDFs.

omnistack_core::settings! {
    feature "invoice-pdf" of "omnistack";
    /// PDFs of invoices.
    pub(crate) struct InvoiceFontSettings {
        /// The TrueType or OpenType font of the PDFs, for scripts that DejaVu Sans, which is built in, does not have.
        pub(crate) font: Option<std::path::PathBuf> = "BILLING_INVOICE_FONT";
    }
}
