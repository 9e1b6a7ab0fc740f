//! The settings of fixes.

use std::time::Duration;

use super::policy::{AutoApproval, FixPolicy};

omnistack_core::settings! {
    /// Fixes of code.
    pub(crate) struct FixSettings {
        /// The model, alias or route that is asked for fixes.
        pub(crate) model: String = "AI_FIX_MODEL", default "smart";
        /// The number of lines before and after a finding that the model sees.
        pub(crate) context_lines: u32 = "AI_FIX_CONTEXT_LINES", default "150", range "0"..="5000";
        /// Most lines that a patch may add and remove together.
        pub(crate) max_changed_lines: u32 = "AI_FIX_MAX_CHANGED_LINES", default "200", range "1"..="10000";
        /// Files, and folders that end with `/`, that no patch may change, wherever they are in a repository.
        pub(crate) forbidden_paths: Vec<String> = "AI_FIX_FORBIDDEN_PATHS",
            default ".github/,.circleci/,.gitlab-ci.yml,.env";
        /// The confidence in percent from which a patch needs no approval by a person. If absent, each patch needs
        /// one.
        pub(crate) auto_approve_confidence: Option<u32> = "AI_FIX_AUTO_APPROVE_CONFIDENCE", range "1"..="100";
        /// Most lines that a patch without approval by a person may add and remove together.
        pub(crate) auto_approve_lines: u32 = "AI_FIX_AUTO_APPROVE_LINES", default "10", range "1"..="1000";
        /// Most fixes of a tenant that wait for a model at the same time.
        pub(crate) max_waiting: u32 = "AI_FIX_MAX_WAITING", default "100", range "1"..="10000";
        /// The time for which findings, with their code, fixes and ledgers, are kept.
        pub(crate) keep: Duration = "AI_FIX_KEEP", default "365d", range "1d"..="3650d";
    }
}

impl FixSettings {
    pub(super) fn policy(&self) -> FixPolicy {
        let forbidden = self.forbidden_paths.iter().map(|path| path.trim().trim_start_matches('/').to_owned());
        FixPolicy {
            max_changed_lines: self.max_changed_lines,
            forbidden_paths: forbidden.filter(|path| !path.is_empty() && path != "/").collect(),
            auto_approval: self
                .auto_approve_confidence
                .map(|confidence| AutoApproval { confidence, changed_lines: self.auto_approve_lines }),
        }
    }
}
