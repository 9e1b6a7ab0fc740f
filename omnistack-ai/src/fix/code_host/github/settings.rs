//! The settings of GitHub.

omnistack_core::settings! {
    feature "github" of "omnistack";
    /// Pull requests on GitHub.
    pub(crate) struct GitHubSettings {
        /// The token of the app at GitHub, with the permissions to read and write contents and pull requests.
        pub(crate) token: Option<omnistack_core::SecretString> = "AI_GITHUB_TOKEN";
        /// The address of GitHub's API. GitHub Enterprise has another one.
        pub(crate) url: String = "AI_GITHUB_URL", default "https://api.github.com";
        /// The repositories that tenants may use: `TENANT=owner/name` for one tenant, `*=owner/name` for all, and
        /// `TENANT=owner/*` for all repositories of an owner. No other repository is used.
        pub(crate) repositories: Vec<super::RepositoryGrant> = "AI_GITHUB_REPOSITORIES";
    }
}
