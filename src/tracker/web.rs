//! The web page: its files are in the binary, and are served with a policy under which they load nothing from
//! anywhere else, and no text can become code.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parcelry_core::api::ProblemKind;
use rust_embed::RustEmbed;

use crate::server::Refusal;

/// Scripts and styles come from here only; scripts get no markup from strings, and no other origin is spoken to.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'; \
    trusted-types parcelry";

/// The files below `web/`.
#[derive(RustEmbed)]
#[folder = "web/"]
struct Files;

/// The routes of the pages and of what they load.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(|| file("index.html")))
        .route("/join", get(|| file("index.html")))
        .route("/s/{share}", get(|| file("get.html")))
        .route("/admin", get(|| file("admin.html")))
        // A service worker answers for paths below its own: it lies at the top.
        .route("/sw.js", get(|| file("sw.js")))
        // The service worker answers here. If the browser has just ended it, the page stays as it is.
        .route("/download/{id}", get(|| async { StatusCode::NO_CONTENT }))
        .route("/web/{*path}", get(|Path(path): Path<String>| async move { file(&path).await }))
}

async fn file(path: &str) -> Result<Response, Refusal> {
    let nothing = || Refusal::new(ProblemKind::NoRoute, "no such path");
    let found = Files::get(path).ok_or_else(nothing)?;
    let kind = content_type(path).ok_or_else(nothing)?;
    let headers = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, "no-referrer")];
    Ok((headers, found.data).into_response())
}

fn content_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_type_and_the_pages_are_there() {
        for path in Files::iter() {
            assert!(content_type(&path).is_some(), "{path}");
        }
        for page in ["index.html", "get.html", "admin.html", "sw.js"] {
            assert!(Files::get(page).is_some(), "{page}");
        }
    }
}
