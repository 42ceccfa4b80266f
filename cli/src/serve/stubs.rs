//! What SDKs ask besides: flags, remote configuration, surveys. Everything is off.

use std::sync::Arc;

use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::serve::app::App;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/flags", any(flags))
        .route("/flags/", any(flags))
        .route("/decide", any(flags))
        .route("/decide/", any(flags))
        .route("/array/{token}/config", get(config))
        .route("/api/surveys", get(async || Json(json!({ "surveys": [] }))))
        .route("/api/surveys/", get(async || Json(json!({ "surveys": [] }))))
        .route("/api/early_access_features/", get(async || Json(json!({ "earlyAccessFeatures": [] }))))
        // Session recordings: none is asked for, and one that comes is dropped.
        .route("/s/", any(async || Json(json!({ "status": 1 }))))
}

async fn flags() -> Json<Value> {
    Json(json!({
        "flags": {},
        "featureFlags": {},
        "featureFlagPayloads": {},
        "errorsWhileComputingFlags": false,
        "supportedCompression": ["gzip", "gzip-js"],
        "sessionRecording": false,
        "autocapture_opt_out": true,
        "siteApps": [],
    }))
}

async fn config() -> Json<Value> {
    Json(json!({
        "supportedCompression": ["gzip", "gzip-js"],
        "hasFeatureFlags": false,
        "sessionRecording": false,
        "surveys": false,
        "autocapture_opt_out": true,
        "siteApps": [],
        "analytics": { "endpoint": "/i/v0/e/" },
    }))
}
