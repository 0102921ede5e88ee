//! What the model wrote on request, as the trainer tells it piece by piece.
//!
//! Enters: the pieces. Leaves: the text so far, for people. Nothing of the round depends on it, so requests pass by
//! this machine. What is over the bound is left out.

use crate::Hash;
use crate::job::{End, readable};
use crate::limits::MAX_WRITTEN;
use crate::view::AnswerView;

#[derive(Debug, Default)]
pub(super) struct Written(Option<Answer>);

#[derive(Debug)]
struct Answer {
    id: u32,
    state: Hash,
    bytes: Vec<u8>,
    tokens_per_s: f32,
    end: Option<End>,
}

impl Written {
    /// A piece of the text that was asked for as `id`; the first of another takes the place of what was there.
    pub(super) fn take(&mut self, id: u32, state: Hash, bytes: &[u8], tokens_per_s: f32, end: Option<End>) {
        let answer = match self.0.take() {
            Some(answer) if answer.id == id && answer.end.is_none() => answer,
            _ => Answer { id, state, bytes: Vec::new(), tokens_per_s, end: None },
        };
        let answer = self.0.insert(Answer { state, tokens_per_s, end, ..answer });
        let room = MAX_WRITTEN.saturating_sub(answer.bytes.len());
        answer.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Whoever wrote is gone.
    pub(super) fn break_off(&mut self, why: &str) {
        if let Some(answer) = &mut self.0 {
            answer.end.get_or_insert_with(|| End::Failed { why: why.to_owned() });
        }
    }

    pub(super) fn view(&self) -> Option<AnswerView> {
        self.0.as_ref().map(|answer| AnswerView {
            id: answer.id,
            state: answer.state.to_string(),
            text: readable(&answer.bytes, answer.end.is_some()),
            tokens_per_s: answer.tokens_per_s,
            end: answer.end.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_until_another_request_and_have_a_bound() {
        let mut written = Written::default();
        let mut take = |id, bytes: &[u8], end| {
            written.take(id, Hash::default(), bytes, 1.0, end);
            let view = written.view().unwrap();
            (view.id, view.text, view.end)
        };
        assert_eq!(take(1, b"The r", None), (1, "The r".to_owned(), None));
        assert_eq!(take(1, b"ain", Some(End::Text)), (1, "The rain".to_owned(), Some(End::Text)));
        // A request by the name of one that has ended is another.
        assert_eq!(take(1, b"It", None), (1, "It".to_owned(), None));
        assert_eq!(take(2, b"", Some(End::Stopped)), (2, String::new(), Some(End::Stopped)));
        (0..9).for_each(|_| drop(take(3, &[b'x'; 1000], None)));
        assert_eq!(take(3, b"y", None).1.len(), MAX_WRITTEN);
        written.break_off("gone");
        assert_eq!(written.view().unwrap().end, Some(End::Failed { why: "gone".to_owned() }));
    }
}
