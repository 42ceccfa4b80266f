//! Tokens: whose events a request brings, and how many a second.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use identity_ledger::Tenant;
use identity_ledger::import::Format;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::policy_file;

/// Seconds over which a token's events are counted.
const WINDOW_SECONDS: u32 = 10;

/// The name of a tenant: also that of its directory, so it holds no character that means something in a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TenantName(String);

impl FromStr for TenantName {
    type Err = String;

    fn from_str(name: &str) -> Result<TenantName, String> {
        let fits =
            |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '-' | '_');
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            let expected = "1 to 64 lower-case letters, digits, `-` or `_`";
            return Err(format!("the tenant is `{}`; expected {expected}", identity_ledger::visible(name)));
        }
        Ok(TenantName(name.to_owned()))
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TenantName {
    /// The tenant of the ledger.
    pub(crate) fn tenant(&self) -> Tenant {
        Tenant::new(self.0.as_str()).expect("a tenant's name is shorter than the bound")
    }
}

/// Whose events a token brings, and what its senders speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) tenant: TenantName,
    pub(crate) format: Format,
}

impl FromStr for Destination {
    type Err = String;

    /// Reads `TENANT` or `TENANT:VENDOR`.
    fn from_str(text: &str) -> Result<Destination, String> {
        let (tenant, vendor) = text.split_once(':').unwrap_or((text, "posthog"));
        let format = match vendor {
            "posthog" => Format::Sdk,
            "segment" => Format::Segment,
            "rudderstack" => Format::Rudderstack,
            "mixpanel" => Format::Mixpanel,
            "mixpanel-original" => Format::MixpanelOriginal,
            "amplitude" => Format::Amplitude,
            _ => {
                let expected = "posthog, segment, rudderstack, mixpanel, mixpanel-original or amplitude";
                return Err(format!(
                    "the vendor is `{}`; expected {expected}",
                    identity_ledger::visible(vendor)
                ));
            }
        };
        Ok(Destination { tenant: tenant.parse()?, format })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Format::Sdk => write!(f, "{}", self.tenant),
            format => write!(f, "{}:{format}", self.tenant),
        }
    }
}

/// Reads `TOKEN=TENANT` or `TOKEN=TENANT:VENDOR`.
pub(crate) fn pair(text: &str) -> Result<(String, Destination), String> {
    let (token, destination) = text.rsplit_once('=').ok_or("expected TOKEN=TENANT, such as phc_shop=shop")?;
    if token.is_empty() {
        return Err("the token is empty; expected TOKEN=TENANT, such as phc_shop=shop".to_owned());
    }
    Ok((token.to_owned(), destination.parse()?))
}

/// The tokens that are served.
pub(crate) struct Tokens {
    tokens: BTreeMap<String, Token>,
    /// Most events of a token in a window.
    most: Option<u64>,
    clock: Clock,
}

struct Token {
    destination: Destination,
    /// The window that is counted, and how many events came in it.
    window: Mutex<(u64, u64)>,
}

impl Tokens {
    /// Those of the command line and of a file.
    pub(crate) fn read(
        given: Vec<(String, Destination)>,
        file: Option<&Path>,
        max_events: Option<u32>,
    ) -> Result<Tokens, Failure> {
        let mut all = given;
        if let Some(file) = file {
            all.extend(read_file(file)?);
        }
        let mut tokens = BTreeMap::new();
        for (token, destination) in all {
            let served = Token { destination: destination.clone(), window: Mutex::default() };
            if let Some(Token { destination: other, .. }) = tokens.insert(token.clone(), served)
                && other != destination
            {
                return Err(Failure::TwoTenants {
                    token,
                    first: other.to_string(),
                    other: destination.to_string(),
                });
            }
        }
        if tokens.is_empty() {
            return Err(Failure::NoTokens);
        }
        let most = max_events.map(|most| u64::from(most) * u64::from(WINDOW_SECONDS));
        Ok(Tokens { tokens, most, clock: Clock::new() })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Destination)> {
        self.tokens.iter().map(|(token, served)| (token.as_str(), &served.destination))
    }

    /// Whose events a token brings.
    pub(crate) fn destination(&self, token: &str) -> Option<&Destination> {
        self.tokens.get(token).map(|token| &token.destination)
    }

    /// The tenant of this name, if a token leads to it.
    pub(crate) fn tenant(&self, name: &str) -> Option<&TenantName> {
        self.iter().map(|(_, destination)| &destination.tenant).find(|tenant| tenant.0 == name)
    }

    /// Counts events of a token; false if they are too many, and must come later.
    pub(crate) fn admit(&self, token: &str, events: usize) -> bool {
        let (Some(most), Some(token)) = (self.most, self.tokens.get(token)) else { return true };
        let now = self.clock.elapsed().as_secs() / u64::from(WINDOW_SECONDS);
        let mut window = token.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.0 != now {
            *window = (now, 0);
        }
        // A request that is larger than the bound alone is admitted once a window, or it could never be.
        let admitted = window.1 == 0 || window.1 + events as u64 <= most;
        if admitted {
            window.1 += events as u64;
        }
        admitted
    }
}

fn read_file(file: &Path) -> Result<Vec<(String, Destination)>, Failure> {
    let text = policy_file::text(file)?;
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let bad = |what| Failure::BadToken { file: file.to_owned(), line: number + 1, what };
        let (token, tenant) = line
            .split_once(char::is_whitespace)
            .ok_or_else(|| bad("expected a token, a blank and a tenant".to_owned()))?;
        tokens.push((token.to_owned(), tenant.trim().parse().map_err(bad)?));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_tenant_leads_into_no_other_directory() {
        for name in ["shop", "shop-2_eu", &"a".repeat(64)] {
            assert_eq!(name.parse::<TenantName>().unwrap().to_string(), name);
        }
        for name in ["", "..", "a/b", "a.b", "Shop", "a b", "ä", "a\0", &"a".repeat(65)] {
            assert!(name.parse::<TenantName>().is_err(), "{name}");
        }
        assert_eq!(pair("a=b=shop").unwrap().0, "a=b");
        assert!(pair("=shop").is_err() && pair("shop").is_err());
        assert_eq!(pair("k=shop:segment").unwrap().1.format, Format::Segment);
        assert_eq!(pair("k=shop:mixpanel-original").unwrap().1.to_string(), "shop:mixpanel-original");
        assert!(pair("k=shop:ops").is_err(), "the ledger's own operations are not a vendor's");
    }

    #[test]
    fn events_of_a_token_have_a_bound_each_window() {
        let tokens =
            Tokens::read(vec![pair("t=shop").unwrap(), pair("u=shop").unwrap()], None, Some(1)).unwrap();
        assert!(tokens.admit("t", 10) && !tokens.admit("t", 1), "ten in ten seconds");
        assert!(tokens.admit("u", 11) && !tokens.admit("u", 1), "one large request is taken");
        assert!(Tokens::read(vec![pair("t=shop").unwrap(), pair("t=other").unwrap()], None, None).is_err());
    }
}
