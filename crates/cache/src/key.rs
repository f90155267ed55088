//! Names of what is kept. A key says nothing of who asks, so no body may depend on that.

/// What is invalidated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Products, lists of them, and their categories.
    Products,
}

impl Group {
    pub(crate) const COUNT: usize = 1;

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Products => 0,
        }
    }
}

/// The name of one body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    group: Group,
    name: String,
}

impl Key {
    /// A product's page; `id` in its canonical form.
    #[must_use]
    pub fn product(id: &str) -> Self {
        Self {
            group: Group::Products,
            name: format!("product:{id}"),
        }
    }

    /// A list of products; `query` is the parsed query in one form for all its spellings.
    #[must_use]
    pub fn products(query: &str) -> Self {
        Self {
            group: Group::Products,
            name: format!("products:{query}"),
        }
    }

    /// The categories.
    #[must_use]
    pub fn categories() -> Self {
        Self {
            group: Group::Products,
            name: "categories".to_owned(),
        }
    }

    pub(crate) const fn group(&self) -> Group {
        self.group
    }

    pub(crate) fn len(&self) -> usize {
        self.name.len()
    }
}
