//! The endpoints by path.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

use super::Service;
use crate::hub::Filter;
use crate::server::dialect::{Endpoint, EndpointOptions, Handler};
use crate::wire::close;
use crate::{Error, ErrorKind, Result};

impl Service {
    /// Lets `handler` speak with the WebSockets that come to `path` from now on. Errors:
    /// `InvalidArgument` for a path that does not begin with `/` or that begins with `/channel/`;
    /// `Exists` when the path is taken; `Closed` when the server is stopped.
    pub fn add_endpoint(
        &self,
        path: &str,
        options: EndpointOptions,
        handler: Arc<dyn Handler>,
    ) -> Result<Arc<Endpoint>> {
        if !path.starts_with('/') || path.starts_with("/channel/") || path.contains(['?', '#']) {
            let text = format!(
                "a path begins with '/' and not with '/channel/', and has no query: it cannot be \
                 '{}'",
                path.escape_debug()
            );
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let shortest = u64::try_from(options.shortest().as_millis()).unwrap_or(u64::MAX);
        let endpoint = Arc::new(Endpoint {
            path: path.into(),
            options,
            handler,
            everyone: self.hub.private(path),
        });
        let mut endpoints = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: what is there when the server is stopped is removed after this is set.
        if self.stopped.load(Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "the server is stopped"));
        }
        if endpoints.contains_key(path) {
            let text = format!("the path '{path}' has an endpoint already");
            return Err(Error::new(ErrorKind::Exists, text));
        }
        endpoints.insert(path.into(), Arc::clone(&endpoint));
        self.shortest_ms.fetch_min(shortest, Relaxed);
        Ok(endpoint)
    }

    /// Gives the endpoint at `path` other limits. Its connections take them over when their shards
    /// are told.
    pub(in crate::server) fn limit_endpoint(&self, path: &str, options: EndpointOptions) {
        let shortest = u64::try_from(options.shortest().as_millis()).unwrap_or(u64::MAX);
        let mut endpoints = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get_mut(path) {
            *endpoint = Arc::new(Endpoint {
                path: Arc::clone(&endpoint.path),
                options,
                handler: Arc::clone(&endpoint.handler),
                everyone: Arc::clone(&endpoint.everyone),
            });
        }
        self.shortest_ms.fetch_min(shortest, Relaxed);
    }

    /// Admits nobody at `path` any more and closes its connections with 1001. Their handler is told
    /// of the end of each. Error: `NotFound`.
    pub fn remove_endpoint(&self, path: &str) -> Result<()> {
        let removed = self.endpoints.write().unwrap_or_else(PoisonError::into_inner).remove(path);
        let Some(endpoint) = removed else {
            let text = format!("there is no endpoint at '{}'", path.escape_debug());
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        endpoint.handler.removed();
        let filter = Filter { path: Some(path.into()), ..Filter::default() };
        for connection in self.connections.select(&filter) {
            connection.close(close::GOING_AWAY, "endpoint is gone");
        }
        Ok(())
    }

    /// Lets go of all endpoints when nothing of them is left: the server is stopped.
    pub(in crate::server) fn forget_endpoints(&self) {
        let all =
            std::mem::take(&mut *self.endpoints.write().unwrap_or_else(PoisonError::into_inner));
        // Outside the lock: what a program registered with them may do anything in its drop.
        drop(all);
    }

    /// The endpoint at `path`.
    pub fn endpoint(&self, path: &str) -> Option<Arc<Endpoint>> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// All endpoints, by path.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The shortest time that an endpoint asks the shards to look after, in ms.
    pub(in crate::server) fn shortest_ms(&self) -> u64 {
        self.shortest_ms.load(Relaxed)
    }
}
