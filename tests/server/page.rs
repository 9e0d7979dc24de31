//! The page at `/` and its files.

use std::collections::HashSet;

use crate::kit::{Raw, server};

/// Paths that `text` names, each behind `before` and up to a quote.
fn references(text: &str, before: &str) -> Vec<String> {
    text.split(before)
        .skip(1)
        .map(|rest| rest.split(['"', '\'']).next().unwrap().to_string())
        .collect()
}

#[test]
fn the_page_and_every_file_that_it_names_are_served() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    let page = raw.get("/");
    assert_eq!(page.status, 200);
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    let mut wanted = references(&page.body, "=\"/");
    wanted.retain(|path| path.starts_with("qyun/"));
    assert!(wanted.iter().any(|path| path == "qyun/main.js"), "{wanted:?}");
    let mut seen = HashSet::new();
    while let Some(path) = wanted.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let file = raw.get(&format!("/{path}"));
        assert_eq!(file.status, 200, "{path}");
        let expected = match path.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(file.field("content-type"), Some(expected), "{path}");
        assert!(!file.body.trim().is_empty(), "{path}");
        let imports = references(&file.body, "from './");
        wanted.extend(imports.into_iter().map(|name| format!("qyun/{name}")));
        check_security(&file);
    }
    assert!(seen.len() >= 8, "{seen:?}");
    check_security(&page);
    // The policy would refuse it.
    for inline in ["<style", " style=", "<script>", " onclick", "javascript:"] {
        assert!(!page.body.contains(inline), "{inline}");
    }
}

fn check_security(answer: &crate::kit::Answer) {
    let policy = answer.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
}

#[test]
fn other_files_and_a_page_that_is_off_are_404() {
    let on = server(&[]);
    let mut raw = Raw::connect(on.local_addr());
    for target in ["/index.html", "/qyun/", "/qyun/none.js", "/qyun/../Cargo.toml", "/favicon.ico"]
    {
        assert_eq!(raw.get(target).status, 404, "{target}");
    }
    let off = server(&[("page", "false")]);
    let mut raw = Raw::connect(off.local_addr());
    for target in ["/", "/qyun/main.js"] {
        let answer = raw.get(target);
        assert_eq!(answer.status, 404, "{target}");
        assert_eq!(answer.field("content-type"), Some("application/json"));
    }
}
