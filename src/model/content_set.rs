//! Sets of content classes: what a rule lets its writers bring.

use super::content::ContentClass;

/// A set of content classes. `broken` is in none of them: what stops interpreters is never approved unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentSet(u8);

impl ContentSet {
    /// What a rule can name, the most harmless first.
    pub const RULED: [ContentClass; 5] =
        [ContentClass::Empty, ContentClass::Paths, ContentClass::Known, ContentClass::Imports, ContentClass::Code];

    /// No class.
    pub const EMPTY: ContentSet = ContentSet(0);

    /// What runs nothing that somebody would have to look at. Found where nobody watched, it is approved.
    pub const HARMLESS: ContentSet =
        ContentSet::EMPTY.with(ContentClass::Empty).with(ContentClass::Paths).with(ContentClass::Known);

    /// Everything that a rule can name.
    pub const ANY: ContentSet = ContentSet::HARMLESS.with(ContentClass::Imports).with(ContentClass::Code);

    /// The set with `class` added.
    #[must_use]
    pub const fn with(self, class: ContentClass) -> Self {
        ContentSet(self.0 | ContentSet::bit(class))
    }

    /// Whether `class` is in the set.
    #[must_use]
    pub fn contains(self, class: ContentClass) -> bool {
        self.0 & ContentSet::bit(class) != 0
    }

    /// What is in both sets.
    #[must_use]
    pub fn and(self, other: ContentSet) -> Self {
        ContentSet(self.0 & other.0)
    }

    /// The classes in the set, the most harmless first.
    pub fn iter(self) -> impl Iterator<Item = ContentClass> {
        ContentSet::RULED.into_iter().filter(move |class| self.contains(*class))
    }

    const fn bit(class: ContentClass) -> u8 {
        match class {
            ContentClass::Empty => 1,
            ContentClass::Paths => 1 << 1,
            ContentClass::Known => 1 << 2,
            ContentClass::Imports => 1 << 3,
            ContentClass::Code => 1 << 4,
            ContentClass::Broken => 0,
        }
    }
}
