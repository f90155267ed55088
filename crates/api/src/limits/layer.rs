//! The layer that counts requests and refuses those beyond a limit.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use tower::{Layer, Service};

use super::{Limits, Quota};
use crate::{error::ApiError, overload::UnderWay};

/// Puts [`Limited`] around a service; without limits that does nothing.
#[derive(Clone)]
pub(crate) struct Limit(pub(crate) Option<Arc<Limits>>);

impl<S> Layer<S> for Limit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited {
            inner,
            limits: self.0.clone(),
        }
    }
}

/// A service that no client has for itself.
#[derive(Clone)]
pub(crate) struct Limited<S> {
    inner: S,
    limits: Option<Arc<Limits>>,
}

impl<S> Service<Request> for Limited<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + Unpin,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let Some(limits) = &self.limits else {
            return Answer::Free(self.inner.call(request));
        };
        limits.note_client(&mut request);
        if limits.sheds(&request) {
            return Answer::Refused(Some(ApiError::Overloaded.into_response()));
        }
        match limits.policy(&request) {
            None => {
                let under_way = UnderWay::new(&limits.processor);
                Answer::Uncounted {
                    answer: self.inner.call(request),
                    _under_way: under_way,
                }
            }
            Some((policy, false)) => {
                let subject = limits.subject(&mut request);
                let quota = limits.count(policy, subject);
                if let Some(refusal) = quota.refusal() {
                    return Answer::Refused(Some(refusal));
                }
                let under_way = UnderWay::new(&limits.processor);
                Answer::Counted {
                    answer: self.inner.call(request),
                    quota,
                    _under_way: under_way,
                }
            }
            Some((policy, true)) => {
                let (limits, policy) = (Arc::clone(limits), Arc::clone(policy));
                // Whoever signs in may bring the token of anybody.
                let subject = limits.address(&request);
                // The one that has said that it is ready is to be called.
                let next = self.inner.clone();
                let mut ready = std::mem::replace(&mut self.inner, next);
                Answer::Exact(Box::pin(async move {
                    let _under_way = UnderWay::new(&limits.processor);
                    let (mut quota, taken) = limits.count_exactly(&policy, subject).await;
                    if let Some(refusal) = quota.refusal() {
                        return refusal;
                    }
                    let Ok(mut response) = ready.call(request).await;
                    if policy.only_failures && response.status().is_success() {
                        limits.take_back(&policy, subject, taken).await;
                        quota.take_back();
                    }
                    quota.tell(response.headers_mut());
                    response
                }))
            }
        }
    }
}

/// The answer to a request, as it comes.
pub(crate) enum Answer<F> {
    Free(F),
    Uncounted {
        answer: F,
        _under_way: UnderWay,
    },
    Counted {
        answer: F,
        quota: Quota,
        _under_way: UnderWay,
    },
    Refused(Option<Response>),
    Exact(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl<F> Future for Answer<F>
where
    F: Future<Output = Result<Response, Infallible>> + Unpin,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Free(answer) | Self::Uncounted { answer, .. } => Pin::new(answer).poll(context),
            Self::Counted { answer, quota, .. } => {
                let Ok(mut response) = ready!(Pin::new(answer).poll(context));
                quota.tell(response.headers_mut());
                Poll::Ready(Ok(response))
            }
            // Polled once only, as every future is that has ended.
            Self::Refused(refusal) => match refusal.take() {
                Some(refusal) => Poll::Ready(Ok(refusal)),
                None => Poll::Pending,
            },
            Self::Exact(answer) => answer.as_mut().poll(context).map(Ok),
        }
    }
}
