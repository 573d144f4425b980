//! A socket whose traffic an [`Activity`] sees.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::Activity;

/// A socket that tells an [`Activity`] of its traffic.
#[derive(Debug)]
pub struct Monitored {
    socket: TcpStream,
    activity: Arc<Activity>,
}

impl Monitored {
    /// Wraps a socket.
    #[must_use]
    pub const fn new(socket: TcpStream, activity: Arc<Activity>) -> Self {
        Self { socket, activity }
    }

    /// Returns the socket.
    #[must_use]
    pub const fn get_ref(&self) -> &TcpStream {
        &self.socket
    }

    fn sent<T>(&self, sent: Poll<T>) -> Poll<T> {
        self.activity.sent(sent.is_pending());
        sent
    }
}

impl AsyncRead for Monitored {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let has_room = buffer.remaining() > 0;
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        if read.is_ready() {
            let received = buffer.filled().get(before..).unwrap_or_default();
            self.activity.received(received);
            if received.is_empty() && has_room {
                self.activity.half_closed();
            }
        }
        read
    }
}

impl AsyncWrite for Monitored {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        // An adapter that has a request to respond to may not read: this sees the end all the same.
        if self.activity.requests() > 0 && !self.activity.is_half_closed() {
            let mut byte = [0];
            if let Poll::Ready(Ok(0)) = self.socket.poll_peek(context, &mut ReadBuf::new(&mut byte)) {
                self.activity.half_closed();
                context.waker().wake_by_ref();
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
