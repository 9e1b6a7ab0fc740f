//! The differences between the providers besides their wire formats.

use std::borrow::Cow;

use http::{HeaderName, header};

use crate::wire::{Anthropic, Codec, Gemini, OpenAiChat, OpenAiResponses, Quirks};

/// The version of Anthropic's API, which its requests state.
pub(super) const ANTHROPIC_VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// The kind of API that a provider has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProviderFamily {
    OpenAi,
    Anthropic,
    Gemini,
    Groq,
    /// An API in the form of OpenAI's.
    Compatible,
    /// OpenAI's API at Azure. Without a version, that of its newer path.
    Azure {
        api_version: Option<String>,
    },
}

/// The codecs of a provider.
#[derive(Debug)]
pub(super) struct FamilyCodecs {
    pub(super) chat: Box<dyn Codec>,
    pub(super) embeddings: Box<dyn Codec>,
}

impl ProviderFamily {
    /// Returns the base URL of the provider itself.
    pub(super) const fn default_base(&self) -> &'static str {
        match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com/v1",
            Self::Gemini => "https://generativelanguage.googleapis.com/v1beta",
            Self::Groq => "https://api.groq.com/openai/v1",
            Self::Compatible | Self::Azure { .. } => "",
        }
    }

    /// Returns the codecs. With `responses`, providers that have OpenAI's Responses API answer by it.
    pub(super) fn codecs(&self, name: Cow<'static, str>, responses: bool) -> FamilyCodecs {
        let embeddings = self.codec(name.clone());
        let chat: Box<dyn Codec> = match self {
            Self::OpenAi | Self::Azure { .. } if responses => Box::new(OpenAiResponses::new(name, Quirks::OPENAI)),
            Self::Groq if responses => Box::new(OpenAiResponses::new(name, Quirks::GROQ)),
            Self::Compatible if responses => Box::new(OpenAiResponses::new(name, Quirks::COMPATIBLE)),
            _ => self.codec(name),
        };
        FamilyCodecs { chat, embeddings }
    }

    fn codec(&self, name: Cow<'static, str>) -> Box<dyn Codec> {
        match self {
            Self::OpenAi | Self::Azure { .. } => Box::new(OpenAiChat::new(name, Quirks::OPENAI)),
            Self::Groq => Box::new(OpenAiChat::new(name, Quirks::GROQ)),
            Self::Compatible => Box::new(OpenAiChat::new(name, Quirks::COMPATIBLE)),
            Self::Anthropic => Box::new(Anthropic::new(name)),
            Self::Gemini => Box::new(Gemini::new(name)),
        }
    }

    /// Returns the header with the key, and the text before the key.
    pub(super) const fn key_header(&self) -> (HeaderName, &'static str) {
        match self {
            Self::OpenAi | Self::Groq | Self::Compatible => (header::AUTHORIZATION, "Bearer "),
            Self::Anthropic => (HeaderName::from_static("x-api-key"), ""),
            Self::Gemini => (HeaderName::from_static("x-goog-api-key"), ""),
            Self::Azure { .. } => (HeaderName::from_static("api-key"), ""),
        }
    }

    /// Returns the header for our id of the request, if the provider logs it.
    pub(super) const fn request_id_header(&self) -> Option<HeaderName> {
        match self {
            Self::OpenAi | Self::Azure { .. } => Some(HeaderName::from_static("x-client-request-id")),
            _ => None,
        }
    }

    /// Returns the path of the list of models.
    pub(super) const fn models_path(&self) -> &'static str {
        match self {
            Self::Anthropic => "/models?limit=1000",
            Self::Gemini => "/models?pageSize=1000",
            _ => "/models",
        }
    }

    /// Returns whether the provider offers embeddings.
    pub(super) const fn has_embeddings(&self) -> bool {
        !matches!(self, Self::Anthropic | Self::Groq)
    }
}
