//! How a client says who it is: by what stands in an address, or in a file of credentials.

use std::io;
use std::path::Path;

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

/// Options for a client of servers with these addresses. The client takes no notice of a user and password, or a token, that stands in an
/// address, so those of the first address that has them are put here.
///
/// # Errors
/// When the file cannot be read, or does not hold credentials.
pub async fn connect_options(
    addresses: &[ServerAddr],
    credentials: Option<&Path>,
) -> io::Result<ConnectOptions> {
    let options = ConnectOptions::new();
    if let Some(file) = credentials {
        return options.credentials_file(file).await;
    }
    let named = addresses.iter().find_map(|address| Some((address.username()?, address.password())));
    Ok(match named {
        Some((user, Some(password))) => options.user_and_password(decoded(user), decoded(password)),
        Some((token, None)) => options.token(decoded(token)),
        None => options,
    })
}

/// An address without the user and the password that may stand in it.
pub fn shown(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("nats", address));
    format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default())
}

/// What `%` stands for, as addresses have it.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_those_that_were_meant() {
        let address: ServerAddr = "nats://ann:a%40b^ü%@host".parse().unwrap();
        assert_eq!(decoded(address.password().unwrap()), "a@b^ü%");
    }
}
