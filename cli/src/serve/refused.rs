//! What is not done, and what is said then: to senders of events, and to those who ask and correct.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::failure::Failure;
use crate::screen::remark;

/// A request that is not recorded, as the sender hears of it.
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
}

pub(crate) fn refused(status: StatusCode, error: impl ToString) -> Refused {
    Refused { status, error: error.to_string() }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let is_later = matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let mut response = (self.status, Json(json!({ "error": self.error }))).into_response();
        if is_later {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Why a question is not answered, or a correction not made.
pub(crate) enum NoAnswer {
    NotAdmitted,
    NoTenant,
    NoQuestion,
    Bad(String),
    /// Another reason of the sender's, by its status.
    Refused(StatusCode, String),
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for NoAnswer {
    fn from(error: E) -> NoAnswer {
        NoAnswer::Failed(error.into())
    }
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            NoAnswer::NotAdmitted => (
                StatusCode::UNAUTHORIZED,
                "the admin token is missing or wrong; send the one that the server printed when it started, as \
                 `Authorization: Bearer TOKEN`"
                    .to_owned(),
            ),
            NoAnswer::NoTenant => (
                StatusCode::NOT_FOUND,
                "this is not a tenant of this server, or it does not have a ledger yet".to_owned(),
            ),
            NoAnswer::NoQuestion => {
                (StatusCode::NOT_FOUND, "this is not a question; see docs/embedding.md".to_owned())
            }
            NoAnswer::Bad(error) => (StatusCode::BAD_REQUEST, error),
            NoAnswer::Refused(status, error) => (status, error),
            NoAnswer::Failed(failure) => {
                remark("error", &failure.to_string());
                (StatusCode::INTERNAL_SERVER_ERROR, failure.to_string())
            }
        };
        refused(status, error).into_response()
    }
}
