//! What can go wrong outside the worker, which reports its troubles instead.

/// Why an evaluation, an export or a text did not happen.
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
    /// Nothing to go on from.
    #[error("there is no text to go on from. Write a few words first")]
    NoPrompt,
    /// More to go on from than leaves room for a byte more.
    #[error("the text to go on from has {got} bytes, and this model reads and writes {most} in all. Shorten it")]
    LongPrompt {
        /// Its bytes.
        got: usize,
        /// The model's context, or [`MAX_WRITTEN`](tributary_protocol::limits::MAX_WRITTEN) if that is less.
        most: usize,
    },
    /// A temperature that is none.
    #[error("the temperature is {0}, and must be a number from 0 to 10")]
    Temperature(f32),
    /// Weights, or what came of them, that are no numbers.
    #[error("the model's weights are not all numbers, or lead to what is none, so it can't write. A later round may")]
    NotNumbers,
    /// The weights don't fit a file's form.
    #[error("the weights can't be packed: {0}")]
    Pack(String),
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
