//! The needs of a request: the capabilities that a model must have. No I/O.

use super::candidate::Candidate;
use crate::{
    catalog::ModelMode,
    chat::{ChatRequest, Part},
};

/// The capabilities that a model must have for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a list of independent abilities")]
pub(super) struct RequestNeeds {
    chat: bool,
    tools: bool,
    images: bool,
    pub(super) embeddings: bool,
}

impl RequestNeeds {
    pub(super) fn of_chat(request: &ChatRequest) -> Self {
        let mut parts = request.messages.iter().flat_map(|message| &message.parts);
        Self {
            chat: !request.messages.is_empty(),
            tools: !request.tools.is_empty(),
            images: parts.any(|part| matches!(part, Part::Image(_))),
            embeddings: false,
        }
    }

    pub(super) const fn of_embeddings() -> Self {
        Self { chat: false, tools: false, images: false, embeddings: true }
    }

    /// Returns the names of the capabilities that a model lacks. A model that is not in the catalog is taken at the
    /// word of its provider, and may offer embeddings.
    pub(super) fn missing(self, candidate: &Candidate) -> Vec<&'static str> {
        let known = candidate.info.as_ref();
        let able = known.map_or_else(|| candidate.provider.capabilities(&candidate.model), |info| info.capabilities);
        let embeds = known.is_none_or(|info| info.mode == ModelMode::Embedding || info.capabilities.embeddings);
        let needs = [
            (self.chat && !able.chat, "conversations"),
            (self.tools && !able.tools, "tools"),
            (self.images && !able.images, "images"),
            (self.embeddings && !embeds, "embeddings"),
        ];
        needs.into_iter().filter_map(|(is_missing, name)| is_missing.then_some(name)).collect()
    }
}
