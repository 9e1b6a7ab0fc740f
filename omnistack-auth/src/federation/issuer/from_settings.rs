//! The issuers of the settings `AUTH_ISSUERS`.

use super::Issuer;
use crate::settings::IssuerSettings;

impl IssuerSettings {
    /// Returns the issuers of `AUTH_ISSUERS`.
    ///
    /// # Errors
    /// Returns a message that says which setting is wrong or absent.
    pub(crate) fn to_providers(&self) -> Result<Vec<Issuer>, String> {
        self.issuers.iter().map(|text| self.issuer(text)).collect()
    }

    fn issuer(&self, text: &str) -> Result<Issuer, String> {
        let (kind, address) =
            text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`: write the kind, `=` and the URL"))?;
        let mut audiences = self.audiences.iter();
        let mut parties = self.authorized_parties.as_slice();
        let mut issuer = match kind {
            "jwks" => Issuer::jwks(address),
            "hs256" => {
                let secret = self.secret.clone().ok_or("`hs256` needs `AUTH_ISSUER_SECRET`")?;
                Issuer::hs256(address, secret)
            }
            "clerk" => Issuer::clerk(address, std::iter::empty::<String>()),
            "supabase" => match &self.secret {
                Some(secret) => Issuer::supabase(address).secret(secret.clone()),
                None => Issuer::supabase(address),
            },
            "auth0" => Issuer::auth0(address, audiences.next().ok_or("`auth0` needs `AUTH_AUDIENCES`")?),
            "keycloak" => {
                let (client, others) = parties.split_first().ok_or("`keycloak` needs `AUTH_AUTHORIZED_PARTIES`")?;
                parties = others;
                Issuer::keycloak(address, client)
            }
            _ => {
                return Err(format!(
                    "`{kind}` is not a kind of issuer; use `jwks`, `hs256`, `clerk`, `supabase`, `auth0` or `keycloak`"
                ));
            }
        };
        if !matches!(kind, "clerk" | "supabase") {
            issuer = audiences.fold(issuer, Issuer::audience);
        }
        if matches!(kind, "clerk" | "keycloak") {
            issuer = issuer.authorized_parties(parties);
        }
        match &self.webhook_secret {
            Some(secret) if matches!(kind, "clerk" | "supabase") => Ok(issuer.webhook_secret(secret.clone())),
            _ => Ok(issuer),
        }
    }
}
