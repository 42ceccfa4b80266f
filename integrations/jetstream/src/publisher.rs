//! Publishers: batches on their way into the stream.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::{Context, ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use identity_ledger_shared_log::engine::Unsent;

use crate::stream::{MIN_DUPLICATE_WINDOW, Stream, subject};

pub use identity_ledger_shared_log::publisher::{MAX_IN_FLIGHT, PublishError, Published, RETRY_FOR};

/// Sends batches. Cheap to clone; clones share what is on its way.
pub type Publisher = identity_ledger_shared_log::Publisher<Stream>;

const _: () = assert!(RETRY_FOR.as_secs() + 2 * ACK_TIMEOUT.as_secs() < MIN_DUPLICATE_WINDOW.as_secs());

/// How long one attempt waits for the stream.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// A client's handle on JetStream, with the time limits that this crate counts on.
pub fn context(client: Client) -> Context {
    ContextBuilder::new().timeout(ACK_TIMEOUT).ack_timeout(ACK_TIMEOUT).build(client)
}

/// Sends a message once.
pub(crate) async fn send(stream: &Stream, message: PublishMessage) -> Result<Published, Unsent> {
    let sent = async {
        let sent = stream.context.send_publish(subject(&stream.name), message).await?;
        sent.await
    };
    match tokio::time::timeout(ACK_TIMEOUT, sent).await {
        Err(_) => Err(Unsent::Unknown("no answer in time".to_owned())),
        Ok(Ok(ack)) => Ok(Published { position: ack.sequence, duplicate: ack.duplicate }),
        Ok(Err(error)) => {
            use async_nats::jetstream::Error as ServerError;
            let refused = std::error::Error::source(&error)
                .and_then(|source| source.downcast_ref::<ServerError>())
                .is_some_and(|refused| is_final(refused.error_code().0, &refused.to_string()));
            let why = error.to_string();
            match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => Err(Unsent::Refused(why)),
                _ if refused => Err(Unsent::Refused(why)),
                _ => Err(Unsent::Unknown(why)),
            }
        }
    }
}

/// Whether a server's error is about the stream or the batch, and not about the moment: full (10047, 10122, and 10077 with a maximum), too
/// large (10054), another stream under this subject (10060), sealed (10109).
fn is_final(code: u64, says: &str) -> bool {
    matches!(code, 10_047 | 10_054 | 10_060 | 10_109 | 10_122) || code == 10_077 && says.contains("maximum")
}
