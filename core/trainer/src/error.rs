//! What can go wrong outside the worker, which reports its troubles instead.

/// Why an evaluation or an export did not happen.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    /// No device, and why, for a person.
    #[error("{0}")]
    Device(String),
    /// The device failed while it computed.
    #[error("the device failed while it computed: {0}")]
    Execution(String),
    /// Weights of another model.
    #[error("there are {got} weights, the model has {expected}")]
    Weights {
        /// The model's.
        expected: u64,
        /// What was given.
        got: u64,
    },
    /// No shard is long enough for one window.
    #[error("no held-out shard has the {0} bytes of one window")]
    NoText(u32),
    /// A file can't be written.
    #[error("{path} can't be written: {error}. Check that the folder may be written and has room.")]
    Write {
        /// The file.
        path: String,
        /// The system's words.
        error: String,
    },
}

impl TrainerError {
    /// Whether doing the same again is pointless.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Execution(_))
    }

    /// Checks that there are as many weights as the model has.
    pub(crate) fn check_weights(expected: u64, got: usize) -> Result<(), Self> {
        if expected == got as u64 { Ok(()) } else { Err(Self::Weights { expected, got: got as u64 }) }
    }
}
