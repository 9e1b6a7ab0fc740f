//! The settings of the tools for agents.

omnistack_core::settings! {
    feature "mcp" of "omnistack";
    /// Tools for agents (Model Context Protocol).
    pub(crate) struct McpSettings {
        /// Origins of web pages that may call `/mcp`, such as `https://agents.example.com:443`, besides that of
        /// `PUBLIC_URL` and, outside production, those of this machine. Programs that are no web pages send no origin.
        pub(crate) origins: Vec<String> = "AI_MCP_ORIGINS";
    }
}
