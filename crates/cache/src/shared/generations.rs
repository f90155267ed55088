//! The generations of what the shared tier holds.
//!
//! They stand in one hash in Redis. A body carries those it was loaded under and is good as long as they
//! are the current ones: raising a number outdates any number of bodies. The messages of a change
//! carry the generations after it.

use std::{
    cmp::Ordering,
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use bharatmart_domain::ProductId;
use uuid::Uuid;

use crate::key::Shows;

/// The current generations. Ordered by age: a later epoch is newer whatever the rest is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generations {
    /// Raised when Redis may have lost writes: a failover, a restart.
    pub(crate) epoch: u64,
    /// Raised when products or categories change.
    pub(crate) catalogue: u64,
    /// Raised when stock changes, but not for each change.
    pub(crate) stock: u64,
}

/// The generations that one body depends on. Two are equal only if nothing that the body shows changed in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edition {
    pub(crate) epoch: u64,
    /// The sum of numbers that only grow within an epoch.
    pub(crate) generation: u64,
}

impl Generations {
    pub(crate) const fn edition(&self, shows: Shows) -> Edition {
        let generation = match shows {
            // A product's page is deleted when the product changes.
            Shows::Product(_) => 0,
            Shows::Products => self.catalogue.wrapping_add(self.stock),
            Shows::Catalogue => self.catalogue,
        };
        Edition {
            epoch: self.epoch,
            generation,
        }
    }

    /// The newer of what two say.
    pub(crate) fn newest(self, other: Self) -> Self {
        match self.epoch.cmp(&other.epoch) {
            Ordering::Less => other,
            Ordering::Greater => self,
            Ordering::Equal => Self {
                epoch: self.epoch,
                catalogue: self.catalogue.max(other.catalogue),
                stock: self.stock.max(other.stock),
            },
        }
    }
}

/// The generations as far as this process knows.
#[derive(Debug)]
pub(crate) struct Known(Mutex<Generations>);

impl Known {
    pub(crate) const fn new(generations: Generations) -> Self {
        Self(Mutex::new(generations))
    }

    pub(crate) fn get(&self) -> Generations {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what is newer in `heard`; answers what was known before and what is known now.
    pub(crate) fn learn(&self, heard: Generations) -> (Generations, Generations) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *known;
        *known = before.newest(heard);
        (before, *known)
    }
}

/// What is told to all processes after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// Who told it.
    pub(crate) sender: Uuid,
    /// How many there have been, with this one.
    pub(crate) number: u64,
    /// The generations after it.
    pub(crate) generations: Generations,
    /// The products that changed.
    pub(crate) products: Vec<ProductId>,
}

/// An announcement that is none of ours.
#[derive(Debug, thiserror::Error)]
#[error("not an announcement of a change")]
pub(crate) struct NotAnAnnouncement;

impl FromStr for Announcement {
    type Err = NotAnAnnouncement;

    /// Reads what the scripts publish: `sender number epoch catalogue stock product,product…`.
    fn from_str(text: &str) -> Result<Self, NotAnAnnouncement> {
        let mut words = text.split(' ');
        let mut next = || words.next().ok_or(NotAnAnnouncement);
        let sender = next()?.parse().map_err(|_| NotAnAnnouncement)?;
        let mut number = || next()?.parse().map_err(|_| NotAnAnnouncement);
        let count = number()?;
        let generations = Generations {
            epoch: number()?,
            catalogue: number()?,
            stock: number()?,
        };
        let products = next()?
            .split_terminator(',')
            .map(|id| id.parse().map_err(|_| NotAnAnnouncement))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            sender,
            number: count,
            generations,
            products,
        })
    }
}

/// The last word of an announcement.
pub(crate) struct Products<'a>(pub(crate) &'a [ProductId]);

impl fmt::Display for Products<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|id| write!(f, "{id},"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generations(epoch: u64, catalogue: u64, stock: u64) -> Generations {
        Generations {
            epoch,
            catalogue,
            stock,
        }
    }

    #[test]
    fn old_news_are_no_news() {
        let known = Known::new(generations(5, 3, 3));
        known.learn(generations(5, 4, 2));
        assert_eq!(known.get(), generations(5, 4, 3));
        known.learn(generations(4, 9, 9));
        assert_eq!(known.get(), generations(5, 4, 3));
        known.learn(generations(6, 0, 0));
        assert_eq!(known.get(), generations(6, 0, 0));
    }

    #[test]
    fn an_announcement_is_read_as_it_was_written() {
        let sender = Uuid::new_v4();
        let products = [ProductId(Uuid::new_v4()), ProductId(Uuid::new_v4())];
        for products in [&products[..], &products[..1], &[]] {
            let text = format!("{sender} 9 5 4 3 {}", Products(products));
            let announcement: Announcement = text.parse().unwrap();
            assert_eq!((announcement.sender, announcement.number), (sender, 9));
            assert_eq!(announcement.generations, generations(5, 4, 3));
            assert_eq!(announcement.products, products);
        }
    }

    #[test]
    fn what_others_publish_is_no_announcement() {
        let sender = Uuid::new_v4();
        for text in [
            String::new(),
            "hello".to_owned(),
            format!("{sender} 9 5 4"),
            format!("{sender} 9 5 4 3"),
            format!("{sender} 9 5 4 -3 "),
            format!("{sender} 9 5 4 3 x,"),
        ] {
            assert!(text.parse::<Announcement>().is_err(), "{text:?}");
        }
    }
}
