//! Composes the message that SMTP transmits (RFC 5322, MIME).

use std::{
    collections::HashSet,
    time::{Duration, UNIX_EPOCH},
};

use lettre::{
    address::Envelope,
    message::{
        Attachment as Part, Body, Mailbox, Message, MessageBuilder, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};

use crate::email::{Address, Attachment, Email, EmailError, EmailErrorKind, InvalidEmail};
use omnistack_core::{clock::Timestamp, crypto::Sha256};

/// A composed message.
pub(super) struct ComposedMessage {
    pub(super) envelope: Envelope,
    pub(super) text: Vec<u8>,
    /// The `Message-ID`, without its angle brackets.
    pub(super) id: String,
}

/// A method that adds an address to a header.
type AddAddress = fn(MessageBuilder, Mailbox) -> MessageBuilder;

/// Composes the message. Recipients in `bcc` are only in the envelope, not in the headers. Fails with
/// [`ErrorKind::Invalid`] if the mail has no sender, or a part of it is not valid.
pub(super) fn message(email: &Email, now: Timestamp) -> Result<ComposedMessage, EmailError> {
    let from = email.from.as_ref().ok_or(InvalidEmail::NoSender)?;
    let id = format!("{}@{}", message_id_left(email), from.domain());
    // A recipient that is listed more than once gets the mail once.
    let mut seen = HashSet::new();
    let recipients = email.recipients().filter(|address| seen.insert(address.normalized()));
    let recipients = recipients.map(|address| mailbox(address).map(|mailbox| mailbox.email));
    let envelope = Envelope::new(Some(mailbox(from)?.email), recipients.collect::<Result<_, _>>()?).map_err(invalid)?;
    let date = UNIX_EPOCH + Duration::from_micros(u64::try_from(now.as_micros()).unwrap_or(0));
    let mut builder = Message::builder()
        .envelope(envelope.clone())
        .date(date)
        .message_id(Some(format!("<{id}>")))
        .subject(email.subject.as_str());
    let addresses: [(&[Address], AddAddress); 4] = [
        (std::slice::from_ref(from), MessageBuilder::from),
        (&email.to, MessageBuilder::to),
        (&email.cc, MessageBuilder::cc),
        (&email.reply_to, MessageBuilder::reply_to),
    ];
    for (addresses, put) in addresses {
        for address in addresses {
            builder = put(builder, mailbox(address)?);
        }
    }
    for (name, value) in email.all_headers() {
        let header = HeaderName::new_from_ascii(name.into()).map_err(|_| InvalidEmail::Header(name.into()))?;
        builder = builder.raw_header(match &email.unsubscribe {
            // The URL must not be encoded: it is written as it is, and was checked to be ASCII on one line.
            Some(_) if name.starts_with("List-Unsubscribe") => {
                HeaderValue::dangerous_new_pre_encoded(header, value.to_string(), value.into_owned())
            }
            _ => HeaderValue::new(header, value.into_owned()),
        });
    }
    let message = match body(email)? {
        MimeContent::Single(part) => builder.singlepart(part),
        MimeContent::Multi(part) => builder.multipart(part),
    };
    Ok(ComposedMessage { envelope, text: message.map_err(invalid)?.formatted(), id })
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> EmailError {
    EmailError::new(EmailErrorKind::Invalid, error)
}

fn mailbox(address: &Address) -> Result<Mailbox, EmailError> {
    let mailbox = lettre::Address::new(address.local(), address.domain()).map_err(invalid)?;
    Ok(Mailbox::new(address.name().map(Into::into), mailbox))
}

/// Returns the left part of the `Message-ID`: derived from the idempotency key, or random if there is none.
fn message_id_left(email: &Email) -> String {
    match &email.idempotency_key {
        Some(key) => Sha256::digest(key).to_string()[..32].into(),
        None => format!("{:032x}", rand::random::<u128>()),
    }
}

enum MimeContent {
    Single(SinglePart),
    Multi(MultiPart),
}

impl MimeContent {
    fn append_to_builder(self, parts: lettre::message::MultiPartBuilder) -> MultiPart {
        match self {
            Self::Single(part) => parts.singlepart(part),
            Self::Multi(part) => parts.multipart(part),
        }
    }

    fn append_to(self, parts: MultiPart) -> MultiPart {
        match self {
            Self::Single(part) => parts.singlepart(part),
            Self::Multi(part) => parts.multipart(part),
        }
    }
}

/// Composes the body: files beside (text or (HTML with its images)). See RFC 2046, section 5.1, and RFC 2387.
fn body(email: &Email) -> Result<MimeContent, EmailError> {
    let (text, html) = (email.written_text(), email.written_html());
    // Without HTML nothing shows an inline image, so it is attached as a file.
    let shown = |file: &&Attachment| html.is_some() && file.content_id.is_some();
    let html = html.map(|html| MimeContent::Single(SinglePart::html(html.to_owned())));
    let html = match (html, email.attachments.iter().any(|file| shown(&file))) {
        (Some(html), true) => {
            let mut related = html.append_to_builder(MultiPart::related());
            for image in email.attachments.iter().filter(shown) {
                related = related.singlepart(part(image, true)?);
            }
            Some(MimeContent::Multi(related))
        }
        (html, _) => html,
    };
    let text = text.map(|text| MimeContent::Single(SinglePart::plain(text.to_owned())));
    let readable = match (text, html) {
        (Some(text), Some(html)) => {
            MimeContent::Multi(html.append_to(text.append_to_builder(MultiPart::alternative())))
        }
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return Err(InvalidEmail::NoBody.into()),
    };
    if email.attachments.iter().all(|file| shown(&file)) {
        return Ok(readable);
    }
    let mut mixed = readable.append_to_builder(MultiPart::mixed());
    for file in email.attachments.iter().filter(|file| !shown(file)) {
        mixed = mixed.singlepart(part(file, false)?);
    }
    Ok(MimeContent::Multi(mixed))
}

fn part(file: &Attachment, shown: bool) -> Result<SinglePart, EmailError> {
    let content_type =
        ContentType::parse(&file.content_type).map_err(|_| InvalidEmail::Attachment(file.name.clone()))?;
    // Always base64, so that mail servers change no byte.
    let body = Body::new_with_encoding(file.content.to_vec(), ContentTransferEncoding::Base64)
        .map_err(|_| InvalidEmail::Attachment(file.name.clone()))?;
    let part = match &file.content_id {
        Some(id) if shown => Part::new_inline_with_name(id.clone(), file.name.clone()),
        _ => Part::new(file.name.clone()),
    };
    Ok(part.body(body, content_type))
}
