//! The page's own files: written by hand, served as they are, without a build step.

use axum::Router;
use axum::http::header;
use axum::routing::get;

/// Path, media type, content.
const FILES: [(&str, &str, &str); 10] = [
    ("/", "text/html; charset=utf-8", include_str!("index.html")),
    ("/page/icon.svg", "image/svg+xml", include_str!("icon.svg")),
    (
        "/page/page.css",
        "text/css; charset=utf-8",
        include_str!("page.css"),
    ),
    (
        "/page/parts.css",
        "text/css; charset=utf-8",
        include_str!("parts.css"),
    ),
    ("/page/main.js", JAVASCRIPT, include_str!("main.js")),
    ("/page/element.js", JAVASCRIPT, include_str!("element.js")),
    ("/page/charts.js", JAVASCRIPT, include_str!("charts.js")),
    ("/page/counts.js", JAVASCRIPT, include_str!("counts.js")),
    ("/page/objects.js", JAVASCRIPT, include_str!("objects.js")),
    ("/page/send.js", JAVASCRIPT, include_str!("send.js")),
];
/// <https://www.rfc-editor.org/rfc/rfc9239#section-6>
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// A route a file.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, media_type, content)| {
            router.route(
                path,
                get(async move || ([(header::CONTENT_TYPE, media_type)], content)),
            )
        })
}
