//! A library without gRPC says so when it is asked for it.

use qyun::ErrorKind;
use qyun::server::{Server, ServerOptions};

#[test]
fn an_address_for_grpc_is_an_error_that_says_what_to_build() {
    let mut options = ServerOptions::default();
    options.set("listen", "127.0.0.1:0").unwrap();
    options.set("grpc_listen", "127.0.0.1:0").unwrap();
    let error = Server::start(options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("feature 'grpc'"), "{error}");
}
