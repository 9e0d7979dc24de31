//! From the path of a call to what answers it.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Frame, Incoming};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{BoxFuture, Bytes, Service as Tower};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::connections::{Stopping, stopped};
use super::methods::{self, METHODS};
use super::schema;
use crate::server::{ServerOptions, Service, remote};
use crate::{Error, ErrorKind, Result};

/// A service of somebody else's, by the path of its methods.
type Foreign =
    Box<dyn Fn(Request<Incoming>) -> BoxFuture<Response<Body>, Infallible> + Send + Sync>;

/// Everything that answers calls.
pub(super) struct Router {
    service: Arc<Service>,
    foreign: Vec<(&'static str, Foreign)>,
    health: HealthReporter,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").finish_non_exhaustive()
    }
}

impl Router {
    pub(super) fn new(service: Arc<Service>) -> Result<Self> {
        let broken = |error| Error::new(ErrorKind::Protocol, format!("gRPC descriptors: {error}"));
        let describe = || {
            tonic_reflection::server::Builder::configure()
                .register_file_descriptor_set(schema::descriptors())
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let (reporter, health) = tonic_health::server::health_reporter();
        let foreign = vec![
            ("/grpc.health.v1.Health/", foreign(health)),
            (
                "/grpc.reflection.v1.ServerReflection/",
                foreign(describe().build_v1().map_err(broken)?),
            ),
            (
                "/grpc.reflection.v1alpha.ServerReflection/",
                foreign(describe().build_v1alpha().map_err(broken)?),
            ),
        ];
        Ok(Self { service, foreign, health: reporter })
    }

    /// Tells health that every method is served; that the server is, it knows.
    pub(super) async fn declare_healthy(&self) {
        for method in METHODS {
            let service = format!("{}.{}", schema::PACKAGE, method.name);
            self.health.set_service_status(service, ServingStatus::Serving).await;
        }
    }

    pub(super) fn options(&self) -> Arc<ServerOptions> {
        self.service.options()
    }

    /// Whether a peer that comes now may call at all. Reads the list, which a reload may change.
    pub(super) fn allows(&self, peer: IpAddr) -> bool {
        let allowed = &self.options().grpc_allow;
        // Validated when it was set; if it is not, nobody is on it.
        let listed = || remote::networks("grpc_allow", &allowed.join(",")).unwrap_or_default();
        allowed.is_empty() || remote::is_in(&listed(), peer)
    }

    /// Answers one call; `call` is held until all of the answer is taken.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        allowed: bool,
        stopping: Stopping,
        call: Arc<()>,
    ) -> Response<Ending> {
        let answer = if allowed {
            self.route(request).await
        } else {
            let peer = peer.ip().to_canonical();
            Status::invalid_argument(format!("{peer} is not among the peers that may call"))
                .into_http()
        };
        let stop = Box::pin(stopped(stopping));
        answer.map(|body| Ending { body: Some(body), stop, _call: call })
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if let Some(method) = methods::find(path) {
            let deadline = self.options().request_timeout;
            let call = method.call(&self.service, request);
            return tokio::time::timeout(deadline, call).await.unwrap_or_else(|_| {
                Status::deadline_exceeded("the request did not come in time").into_http()
            });
        }
        match self.foreign.iter().find(|(prefix, _)| path.starts_with(prefix)) {
            Some((_, foreign)) => match foreign(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            },
            None => Status::unimplemented(format!("there is no method {path}")).into_http(),
        }
    }
}

fn foreign<S>(service: S) -> Foreign
where
    S: Tower<
            Request<Incoming>,
            Response = Response<Body>,
            Error = Infallible,
            Future = BoxFuture<Response<Body>, Infallible>,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    // These are always ready.
    Box::new(move |request| service.clone().call(request))
}

/// The body of an answer. A stream that would go on for ever ends when the server stops.
pub(super) struct Ending {
    /// `None` behind the end.
    body: Option<Body>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    _call: Arc<()>,
}

impl hyper::body::Body for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        std::task::ready!(self.stop.as_mut().poll(context));
        self.body = None;
        let mut trailers = HeaderMap::new();
        Status::unavailable("the server is stopping").add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}
