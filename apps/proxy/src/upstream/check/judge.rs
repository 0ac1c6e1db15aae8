//! From answers to a judgement: one answer alone changes nothing, unless it is enough.

/// The state of a server, and what speaks against it.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    rise: u32,
    fall: u32,
    up: bool,
    /// Answers in a row that contradict the state.
    against: u32,
}

impl Judge {
    /// A server in this state. `rise` good answers in a row make it up, `fall` failures in a row down.
    pub fn new(up: bool, rise: u32, fall: u32) -> Self {
        Self { rise, fall, up, against: 0 }
    }

    /// Takes an answer. The new state if it changes.
    pub fn hear(&mut self, is_good: bool) -> Option<bool> {
        if is_good == self.up {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = if self.up { self.fall } else { self.rise };
        if self.against < enough {
            return None;
        }
        (self.up, self.against) = (is_good, 0);
        Some(is_good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state after each answer: `+` is a good one.
    fn states(mut judge: Judge, answers: &str) -> String {
        let mut up = judge.up;
        let state = |answer: char| {
            up = judge.hear(answer == '+').unwrap_or(up);
            if up { 'U' } else { 'd' }
        };
        answers.chars().map(state).collect()
    }

    #[test]
    fn only_a_row_of_answers_changes_the_state() {
        assert_eq!(states(Judge::new(true, 2, 3), "--+---+-++-"), "UUUUUddddUU");
        assert_eq!(states(Judge::new(false, 3, 1), "++-+++-"), "dddddUd");
        assert_eq!(states(Judge::new(true, 1, 1), "-+-+"), "dUdU");
    }

    #[test]
    fn a_change_is_told_once() {
        let mut judge = Judge::new(true, 1, 2);
        let told: Vec<Option<bool>> = [false, false, false, false, true, true].map(|a| judge.hear(a)).into();
        assert_eq!(told, [None, Some(false), None, None, Some(true), None]);
    }
}
