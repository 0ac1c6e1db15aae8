//! To have the configuration loaded anew: the admin address is asked, whoever has started the proxies does it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// How long loading may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was loaded, or why nothing was; for people.
pub type Outcome = Result<String, String>;
/// Asks, and waits for the outcome.
pub type Load = Box<dyn Fn() -> Outcome + Send + Sync>;

/// Somebody who asks.
pub struct Ask(SyncSender<Outcome>);

impl Ask {
    /// Says what became of it.
    pub fn answer(self, outcome: Outcome) {
        // Who has asked may have gone.
        let _ = self.0.try_send(outcome);
    }
}

/// Those who have asked.
pub struct Asks {
    sender: Sender<Ask>,
    receiver: Receiver<Ask>,
}

impl Default for Asks {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

impl Asks {
    /// The next, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<Ask> {
        self.receiver.try_recv().ok()
    }

    /// For who is to ask.
    #[must_use]
    pub fn asker(&self) -> Load {
        let sender = self.sender.clone();
        Box::new(move || {
            let (answer, answered) = sync_channel(1);
            let nobody = || "the program ends".to_owned();
            sender.send(Ask(answer)).map_err(|_| nobody())?;
            answered.recv_timeout(PATIENCE).unwrap_or_else(|e| match e {
                RecvTimeoutError::Timeout => Err(format!("nothing was loaded within {PATIENCE:?}")),
                RecvTimeoutError::Disconnected => Err(nobody()),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_asks_gets_the_outcome_or_hears_of_the_end() {
        let asks = Asks::default();
        assert!(asks.next().is_none());
        let ask = || {
            let load = asks.asker();
            std::thread::spawn(move || (load(), Instant::now()))
        };
        let next = || loop {
            if let Some(ask) = asks.next() {
                return ask;
            }
            std::thread::yield_now();
        };
        for outcome in [Ok("done".to_owned()), Err("why".to_owned())] {
            let asking = ask();
            next().answer(outcome.clone());
            assert_eq!(asking.join().unwrap().0, outcome);
        }
        // One that nobody has taken up, and one that comes too late.
        let (asking, late) = (ask(), asks.asker());
        std::thread::sleep(Duration::from_millis(50));
        let end = Instant::now();
        drop(asks);
        let (outcome, when) = asking.join().unwrap();
        assert_eq!(
            (outcome, late()),
            (Err("the program ends".to_owned()), Err("the program ends".to_owned()))
        );
        assert!(when < end + PATIENCE / 2);
    }
}
