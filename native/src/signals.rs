//! The wish to stop: Ctrl-C, and what a service manager sends.

#[cfg(unix)]
mod imp {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// Both signals from the moment it is made, so that none is lost between two waits.
    #[derive(Debug)]
    pub(crate) struct Signals {
        interrupt: Signal,
        terminate: Signal,
    }

    impl Signals {
        /// Begins to listen; from now on the signals no longer end the process by themselves.
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
        }

        /// Waits for the next one.
        pub(crate) async fn next(&mut self) -> io::Result<()> {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            Ok(())
        }
    }
}

#[cfg(not(unix))]
mod imp {
    use std::io;

    /// Ctrl-C alone.
    #[derive(Debug)]
    pub(crate) struct Signals;

    impl Signals {
        /// Begins to listen; from now on the signals no longer end the process by themselves.
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        /// Waits for the next one.
        pub(crate) async fn next(&mut self) -> io::Result<()> {
            tokio::signal::ctrl_c().await
        }
    }
}

pub(crate) use imp::Signals;
