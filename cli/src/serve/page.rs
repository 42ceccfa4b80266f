//! The pages: files of this program, without a word of another origin.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::serve::app::App;

/// Scripts and styles come from this server alone, and a text of a sender that were markup could load and send nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn router(is_demo: bool) -> Router<Arc<App>> {
    let router = Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/page/icon.svg", get(async || file("image/svg+xml", include_str!("page/icon.svg"))))
        .route("/page/style.css", get(async || file("text/css", include_str!("page/style.css"))))
        .route("/page/persons.js", get(async || file("text/javascript", include_str!("page/persons.js"))));
    if !is_demo {
        return router;
    }
    router
        .route("/demo", get(async || file("text/html; charset=utf-8", include_str!("page/demo.html"))))
        .route("/page/demo.js", get(async || file("text/javascript", include_str!("page/demo.js"))))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
