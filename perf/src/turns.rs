//! Sides of a comparison in turn, and what a target has come to.

use std::time::Duration;

use crate::measure::Line;
use crate::{BenchError, Options};

/// One side: works for about as long as it is told, and says what it did.
pub(crate) type Side<'a, T> = Box<dyn FnMut(Duration) -> Result<T, BenchError> + 'a>;

/// Gives each a slice in turn, `rounds` times, after a round that does not count; every other round in reverse.
pub(crate) fn take_turns<T>(options: &Options, sides: &mut [Side<'_, T>]) -> Result<Vec<Vec<T>>, BenchError> {
    let mut slices: Vec<_> = sides.iter().map(|_| Vec::with_capacity(options.rounds)).collect();
    for round in 0..=options.rounds {
        for turn in 0..sides.len() {
            options.go_on()?;
            let i = if round % 2 == 0 { turn } else { sides.len() - 1 - turn };
            let slice = sides[i](options.slice)?;
            if round > 0 {
                slices[i].push(slice);
            }
        }
    }
    Ok(slices)
}

/// Says what a target has come to.
pub(crate) fn target(line: Line, least: f64) -> Line {
    let met = line.ratio.is_some_and(|ratio| ratio >= least);
    line.note(format!("target: a ratio of {least} or more: {}", if met { "met" } else { "missed" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_take_turns_forth_and_back_and_the_first_round_does_not_count() {
        let order = std::cell::RefCell::new(String::new());
        let side = |name: &'static str, value: u32| {
            let order = &order;
            Box::new(move |_| {
                order.borrow_mut().push_str(name);
                Ok(value)
            }) as Side<'_, u32>
        };
        let slices = take_turns(&Options::for_tests(2), &mut [side("a", 1), side("b", 2)]).unwrap();
        assert_eq!(slices, [[1; 2], [2; 2]]);
        assert_eq!(order.into_inner(), "abbaab");
    }
}
