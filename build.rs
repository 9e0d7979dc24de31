//! Build script: the C header `include/qyun.h`, and how the shared library is linked.
//!
//! The header reads like a manual, in the order a user needs things. cbindgen knows no order across
//! files, so it runs once per file of `src/ffi` and the results are put together here, each under
//! that file's module documentation.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The sections of the header, in order: the files of `src/ffi` that make them.
const SECTIONS: &[&str] = &[
    "status",
    "version",
    "callback",
    "oneshot",
    "options",
    "message",
    "server",
    "publish",
    "reload",
    "connection",
    "belongings",
    "upgrade",
    "endpoint",
    "connections",
    "request",
    "packet",
    "rpc",
    "client",
    "channel",
    "publish_client",
    "subscription",
    "presence",
    "history",
    "socket",
    "socket_pull",
    "packet_client",
    "packet_client_calls",
    "log",
    "shutdown",
];

/// Types that no function of their own section uses.
const UNREFERENCED: &[&str] = &["qy_drop_callback", "qy_position", "qy_response_callback"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/ffi");
    println!("cargo:rerun-if-changed=include/qyun.h");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // The number in the soname goes up whenever QY_ABI_VERSION does. The library stays mapped
        // once it was loaded, because its threads, thread-locals and fork handler point into it.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libqyun.so.0");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }

    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let header = header(&root.join("src/ffi"))?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("qyun.h"), &header)?;
    let committed = root.join("include/qyun.h");
    if fs::read_to_string(&committed).ok().as_deref() != Some(header.as_str()) {
        // The sources may be read-only, as in a package that is being verified: OUT_DIR has it too.
        let _ =
            fs::create_dir_all(root.join("include")).and_then(|()| fs::write(committed, header));
    }
    Ok(())
}

fn header(sources: &Path) -> Result<String, Box<dyn Error>> {
    let version = env::var("CARGO_PKG_VERSION")?;
    let mut out = String::new();
    writeln!(out, "/*\n * qyun.h: libqyun {version}\n *")?;
    comment_lines(&mut out, &module_docs(&sources.join("mod.rs"))?)?;
    out.push_str(" *\n * Generated from src/ffi by build.rs with cbindgen; do not edit.\n */\n\n");
    out.push_str("#ifndef QYUN_H\n#define QYUN_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n");
    out.push_str("#ifdef __cplusplus\nextern \"C\" {\n#endif\n");
    for (index, section) in SECTIONS.iter().enumerate() {
        let source = sources.join(format!("{section}.rs"));
        let docs = module_docs(&source)?;
        let (title, text) =
            docs.split_first().ok_or_else(|| format!("{section}.rs has no docs"))?;
        let rule = "=".repeat(75);
        writeln!(out, "\n/* {rule}\n * {}. {title}\n * {rule}", index + 1)?;
        comment_lines(&mut out, text)?;
        out.push_str(" */\n\n");
        if *section == "version" {
            version_macros(&mut out, &version)?;
        }
        out.push_str(&declarations(&source)?);
    }
    out.push_str("\n#ifdef __cplusplus\n} /* extern \"C\" */\n#endif\n\n#endif /* QYUN_H */\n");
    Ok(out)
}

fn version_macros(out: &mut String, version: &str) -> Result<(), Box<dyn Error>> {
    out.push_str("/** The version of this header. */\n");
    for part in ["MAJOR", "MINOR", "PATCH"] {
        let number = env::var(format!("CARGO_PKG_VERSION_{part}"))?;
        writeln!(out, "#define QY_VERSION_{part} {number}")?;
    }
    writeln!(out, "#define QY_VERSION \"{version}\"\n")?;
    Ok(())
}

/// The `//!` lines at the head of a source file.
fn module_docs(source: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let text = fs::read_to_string(source)?;
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    Ok(lines.map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned()).collect())
}

fn comment_lines(out: &mut String, lines: &[String]) -> Result<(), Box<dyn Error>> {
    for line in lines {
        if line.contains("*/") || line.contains("/*") {
            return Err(format!("'{line}' would end the comment that it stands in").into());
        }
        writeln!(out, "{}", format!(" * {line}").trim_end())?;
    }
    Ok(())
}

/// What cbindgen makes of one source file: constants, types, functions.
fn declarations(source: &Path) -> Result<String, Box<dyn Error>> {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Both,
        no_includes: true,
        usize_is_size_t: true,
        documentation: true,
        documentation_style: cbindgen::DocumentationStyle::Doxy,
        line_length: 100,
        tab_width: 2,
        ..Default::default()
    };
    config.export.include = UNREFERENCED.iter().map(ToString::to_string).collect();
    let mut bytes = Vec::new();
    cbindgen::Builder::new().with_config(config).with_src(source).generate()?.write(&mut bytes);
    Ok(tidy(&String::from_utf8(bytes)?))
}

/// A negative `#define` in parentheses, as a macro's value should be; one-line comments on one line;
/// types by their own name, without `struct`.
fn tidy(text: &str) -> String {
    let lines: Vec<_> = text.trim().lines().collect();
    let mut out = String::new();
    let mut rest = lines.as_slice();
    while let Some((&line, after)) = rest.split_first() {
        rest = after;
        if let ("/**", [comment, end, after @ ..]) = (line.trim(), rest)
            && end.trim() == "*/"
        {
            let indent = line.len() - line.trim_start().len();
            let comment = comment.trim().trim_start_matches("* ");
            out.push_str(&format!("{}/** {comment} */\n", &line[..indent]));
            rest = after;
        } else if let Some((name, value)) =
            line.strip_prefix("#define ").and_then(|rest| rest.split_once(' '))
            && value.starts_with('-')
        {
            out.push_str(&format!("#define {name} ({value})\n"));
        } else if line.starts_with("typedef struct") {
            out.push_str(&format!("{line}\n"));
        } else {
            out.push_str(&format!("{}\n", line.replace("struct qy_", "qy_")));
        }
    }
    out
}
