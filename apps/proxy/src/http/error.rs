//! Answers that we give ourselves, because there is none of a server.

use super::field::{put_decimal, request_id};

/// A page in the colours that the visitor's system has.
const PAGE_START: &str = concat!(
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    "<meta name=\"color-scheme\" content=\"light dark\">\n",
    "<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:38rem;margin:15vh auto;padding:0 1rem;",
    "overflow-wrap:anywhere}small{opacity:.7}</style>\n<title>",
);

/// Why a request gets an answer of ours. The text of [`Refusal::BadRequest`], [`Refusal::NotImplemented`] and
/// [`Refusal::BadGateway`] says what was wrong; it is plain, without `<` and `&`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// 400: it is malformed, or can be read in two ways.
    #[error("the request is malformed: {0}")]
    BadRequest(&'static str),
    /// 403.
    #[error("the request is not allowed")]
    Forbidden,
    /// 405: CONNECT or TRACE.
    #[error("the request's method is not served: CONNECT and TRACE are not")]
    Method,
    /// 408.
    #[error("the request did not come in time")]
    Timeout,
    /// 413.
    #[error("the request's content is longer than the limit")]
    BodyTooLarge,
    /// 414.
    #[error("the request's target is longer than the limit")]
    TargetTooLong,
    /// 417.
    #[error("the request expects something else than 100-continue")]
    ExpectationFailed,
    /// 421: it came on a connection for another host.
    #[error("the request is for a host that this connection is not for")]
    Misdirected,
    /// 429.
    #[error("the client has sent too many requests")]
    TooManyRequests,
    /// 431.
    #[error("the request's head is longer than the limit, or has too many fields")]
    HeadTooLarge,
    /// 500: a bug of ours.
    #[error("an error of the proxy")]
    Internal,
    /// 501.
    #[error("the request needs what is not served: {0}")]
    NotImplemented(&'static str),
    /// 502: the server's answer was none.
    #[error("the server sent no response that could be passed on: {0}")]
    BadGateway(&'static str),
    /// 503: no server can be reached, or there are too many requests.
    #[error("no server takes the request")]
    Unavailable,
    /// 504: the server did not answer in time.
    #[error("the server did not answer in time")]
    GatewayTimeout,
    /// 505.
    #[error("the request is of another version than HTTP/1.1 and HTTP/1.0")]
    Version,
}

/// What an answer of ours depends on besides its cause.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// Whether the connection is kept, if the cause lets it be.
    pub keep_alive: bool,
    /// Whether the request was a HEAD.
    pub is_head: bool,
    /// The id of the request, if there is one.
    pub request_id: &'a str,
    /// The value of `Date`, if not empty.
    pub date: &'a [u8],
}

impl Refusal {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status_line().0
    }

    /// The name of the status.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.status_line().1
    }

    fn status_line(&self) -> (u16, &'static str) {
        match self {
            Self::BadRequest(_) => (400, "Bad Request"),
            Self::Forbidden => (403, "Forbidden"),
            Self::Method => (405, "Method Not Allowed"),
            Self::Timeout => (408, "Request Timeout"),
            Self::BodyTooLarge => (413, "Content Too Large"),
            Self::TargetTooLong => (414, "URI Too Long"),
            Self::ExpectationFailed => (417, "Expectation Failed"),
            Self::Misdirected => (421, "Misdirected Request"),
            Self::TooManyRequests => (429, "Too Many Requests"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Self::Internal => (500, "Internal Server Error"),
            Self::NotImplemented(_) => (501, "Not Implemented"),
            Self::BadGateway(_) => (502, "Bad Gateway"),
            Self::Unavailable => (503, "Service Unavailable"),
            Self::GatewayTimeout => (504, "Gateway Timeout"),
            Self::Version => (505, "HTTP Version Not Supported"),
        }
    }

    /// Whether the connection has to end, because it is not known where the next request begins.
    #[must_use]
    pub fn must_close(&self) -> bool {
        !matches!(
            self,
            Self::Forbidden
                | Self::Misdirected
                | Self::TooManyRequests
                | Self::BadGateway(_)
                | Self::Unavailable
                | Self::GatewayTimeout
        )
    }

    /// What a visitor is told. What went wrong behind us is nothing to them.
    fn advice(&self) -> &'static str {
        match self {
            Self::BadRequest(why) | Self::NotImplemented(why) => why,
            Self::Forbidden => "This is not for you to see.",
            Self::Method => "CONNECT and TRACE are not served.",
            Self::Timeout => "The request did not come in time.",
            Self::BodyTooLarge => "What was sent is too long.",
            Self::TargetTooLong => "The address is too long.",
            Self::ExpectationFailed => "Only 100-continue can be expected.",
            Self::Misdirected => "This connection is not for that host. Ask on a new one.",
            Self::TooManyRequests => "Too many requests. Try again in a while.",
            Self::HeadTooLarge => "The head of the request is too long, or has too many fields.",
            Self::Internal => "Something went wrong here.",
            Self::BadGateway(_) => "The server behind this one sent no answer that could be passed on.",
            Self::Unavailable => "The service is not available now. Try again in a moment.",
            Self::GatewayTimeout => "The server behind this one did not answer in time.",
            Self::Version => "This server speaks HTTP/1.1.",
        }
    }

    /// Writes a whole response.
    pub fn write(&self, answer: &Answer<'_>, out: &mut Vec<u8>) {
        out.reserve(1024);
        let start = out.len();
        // The page comes first, to be measured, and the head is put before it.
        self.put_page(answer, out);
        let page = out.len() - start;
        self.put_head(answer, page as u64, out);
        out[start..].rotate_left(page);
        if answer.is_head {
            out.truncate(out.len() - page);
        }
    }

    fn put_head(&self, answer: &Answer<'_>, page: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        self.put_status(out);
        out.extend_from_slice(
            b"\r\nServer: warpdrive\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: ",
        );
        put_decimal(page, out);
        out.extend_from_slice(b"\r\nCache-Control: no-store\r\n");
        match self {
            Self::Method => out.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"),
            Self::Unavailable | Self::TooManyRequests => out.extend_from_slice(b"Retry-After: 1\r\n"),
            _ => {}
        }
        if !answer.date.is_empty() {
            out.extend_from_slice(b"Date: ");
            out.extend_from_slice(answer.date);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(id) = request_id(answer.request_id.as_bytes()) {
            out.extend_from_slice(b"X-Request-Id: ");
            out.extend_from_slice(id.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        let keeps = answer.keep_alive && !self.must_close();
        out.extend_from_slice(if keeps { b"\r\n" } else { b"Connection: close\r\n\r\n" });
    }

    fn put_page(&self, answer: &Answer<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(PAGE_START.as_bytes());
        self.put_status(out);
        out.extend_from_slice(b"</title>\n<h1>");
        self.put_status(out);
        out.extend_from_slice(b"</h1>\n<p>");
        out.extend_from_slice(self.advice().as_bytes());
        out.extend_from_slice(b"\n<p><small>warpdrive");
        if let Some(id) = request_id(answer.request_id.as_bytes()) {
            out.extend_from_slice(b", request ");
            out.extend_from_slice(id.as_bytes());
        }
        out.extend_from_slice(b"</small>\n");
    }

    fn put_status(&self, out: &mut Vec<u8>) {
        put_decimal(self.status().into(), out);
        out.push(b' ');
        out.extend_from_slice(self.reason().as_bytes());
    }
}

#[cfg(test)]
mod tests;
