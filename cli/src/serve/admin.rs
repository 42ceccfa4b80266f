//! Who may look: metrics and persons are for those who know the admin token.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};
use identity_ledger::storage::{Entropy, OsEntropy};

use crate::failure::Failure;

/// The admin token; `None` lets everybody in.
pub(crate) struct Admin(Option<String>);

impl Admin {
    /// A fresh token, unless the server is open, which it may be only where no other machine reaches it.
    pub(crate) fn new(open: bool, address: SocketAddr) -> Result<Admin, Failure> {
        if open {
            let is_loopback = address.ip().is_loopback();
            return if is_loopback {
                Ok(Admin(None))
            } else {
                Err(Failure::OpenToAll { address: address.to_string() })
            };
        }
        let mut bytes = [0; 16];
        OsEntropy::default().fill(&mut bytes);
        Ok(Admin(Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())))
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether a request may look.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.0 else { return is_local(headers) };
        let given =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        // Digests are compared, so that the time says nothing of how much is right.
        given.is_some_and(|given| blake3::hash(given.trim().as_bytes()) == blake3::hash(token.as_bytes()))
    }
}

/// Whether the request names this machine. The name of a site that was made to lead here is not one: its pages must not read.
fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name =
        host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_server_answers_those_who_name_this_machine() {
        let admits = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            Admin(None).admits(&headers)
        };
        for host in ["localhost", "localhost:8377", "127.0.0.1:80", "127.0.0.2", "[::1]", "[::1]:8377"] {
            assert!(admits(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8377", "192.168.0.1", "localhost.evil.example", ""] {
            assert!(!admits(host), "{host}");
        }
        assert!(!Admin(None).admits(&HeaderMap::new()));
    }

    #[test]
    fn only_the_token_admits() {
        let admin = Admin(Some("secret".to_owned()));
        let admits = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            admin.admits(&headers)
        };
        assert!(admits("Bearer secret"));
        assert!(!admits("Bearer secret2") && !admits("Basic secret") && !admits("secret"));
        assert!(!admin.admits(&HeaderMap::new()));
        let all: SocketAddr = "0.0.0.0:1".parse().unwrap();
        assert!(Admin::new(true, all).is_err() && Admin::new(false, all).is_ok());
    }
}
