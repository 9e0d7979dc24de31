//! The page at `/`: a test page and a live console, in the program itself.
//!
//! Its files are what a browser runs, without a build step. They load nothing from elsewhere and
//! talk to this server alone; [`SECURITY`] has the browser enforce that.

/// A file of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    path: &'static str,
    pub media_type: &'static str,
    pub text: &'static str,
}

/// Header fields of every file: scripts, styles, pictures and connections of this server only, no
/// script in the page's text, nobody else's frame around it.
pub(super) const SECURITY: &str = "cache-control: no-cache\r\n\
    content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'\r\n\
    cross-origin-opener-policy: same-origin\r\n\
    referrer-policy: no-referrer\r\n\
    x-content-type-options: nosniff\r\n";

const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: &[File] = &[
    File {
        path: "index.html",
        media_type: "text/html; charset=utf-8",
        text: include_str!("index.html"),
    },
    File {
        path: "page.css",
        media_type: "text/css; charset=utf-8",
        text: include_str!("page.css"),
    },
    File { path: "icon.svg", media_type: "image/svg+xml", text: include_str!("icon.svg") },
    File { path: "main.js", media_type: SCRIPT, text: include_str!("main.js") },
    File { path: "words.js", media_type: SCRIPT, text: include_str!("words.js") },
    File { path: "dom.js", media_type: SCRIPT, text: include_str!("dom.js") },
    File { path: "dialects.js", media_type: SCRIPT, text: include_str!("dialects.js") },
    File { path: "listener.js", media_type: SCRIPT, text: include_str!("listener.js") },
    File { path: "packet.js", media_type: SCRIPT, text: include_str!("packet.js") },
    File { path: "test.js", media_type: SCRIPT, text: include_str!("test.js") },
    File { path: "console.js", media_type: SCRIPT, text: include_str!("console.js") },
    File { path: "tables.js", media_type: SCRIPT, text: include_str!("tables.js") },
    File { path: "plot.js", media_type: SCRIPT, text: include_str!("plot.js") },
    File { path: "api.js", media_type: SCRIPT, text: include_str!("api.js") },
];

/// The file at `path` below `/qyun/`; the page itself is `index.html`, and at `/` as well.
pub(super) fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}
