//! Plans, as `auto_explain` writes them down.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

/// How many rows the tables have.
pub type Tables = BTreeMap<&'static str, u32>;

/// More rows than any page has.
const PAGE: f64 = 101.0;
/// Whoever counts more than this share of a table may read all of it.
const SHARE: f64 = 0.1;

/// What a statement did.
#[derive(Debug)]
pub struct Plan {
    query: String,
    root: Node,
    /// Without the time for planning.
    pub milliseconds: f64,
}

#[derive(Debug, Deserialize)]
struct Explained {
    #[serde(rename = "Query Text")]
    query: String,
    #[serde(rename = "Plan")]
    root: Node,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    #[serde(rename = "Node Type")]
    kind: String,
    #[serde(rename = "Relation Name")]
    table: Option<String>,
    #[serde(rename = "Index Name")]
    index: Option<String>,
    #[serde(rename = "Index Cond")]
    condition: Option<String>,
    #[serde(rename = "Filter")]
    filter: Option<String>,
    #[serde(rename = "Actual Rows")]
    rows: f64,
    #[serde(rename = "Actual Loops")]
    loops: f64,
    #[serde(rename = "Rows Removed by Filter")]
    removed: f64,
    #[serde(rename = "Shared Hit Blocks")]
    hit: u64,
    #[serde(rename = "Shared Read Blocks")]
    read: u64,
    #[serde(rename = "Actual Total Time")]
    milliseconds: f64,
    #[serde(rename = "Plans")]
    children: Vec<Node>,
}

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It reads all of a table.
    Scan(String),
    /// It reads all of a table, and counts much of it.
    Count(String),
    /// It sorts so many rows.
    Sort(String),
    /// It was made for all values alike.
    Generic,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scan(table) | Self::Count(table) => write!(formatter, "reads all {table}"),
            Self::Sort(rows) => write!(formatter, "sorts {rows} rows"),
            Self::Generic => formatter.write_str("is planned for all values alike"),
        }
    }
}

/// The plans in `log` of lists of `table`.
pub fn read(log: &str, table: &str) -> Vec<Plan> {
    let from = format!(" FROM {table} WHERE true");
    log.split(" ms  plan:\n")
        .zip(log.split(" ms  plan:\n").skip(1))
        .filter_map(|(before, after)| {
            let (_, milliseconds) = before.rsplit_once("duration: ")?;
            let explained: Explained = serde_json::Deserializer::from_str(after)
                .into_iter()
                .next()?
                .ok()?;
            explained.query.contains(&from).then_some(Plan {
                query: explained.query,
                root: explained.root,
                milliseconds: milliseconds.parse().ok()?,
            })
        })
        .collect()
}

impl Plan {
    /// Whether it counts; else it reads a page.
    pub fn is_count(&self) -> bool {
        self.query.starts_with("SELECT count(*)")
    }

    /// One line for each node, indented.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.root.describe(0, &mut lines);
        lines
    }

    /// What is wrong with it; `varies` says that the best plan depends on the values.
    pub fn faults(&self, tables: &Tables, varies: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.root.visit(&mut |node| {
            let rows = node.rows * node.loops;
            if node.kind == "Seq Scan"
                && let Some(table) = &node.table
                && let Some(size) = tables.get(table.as_str())
            {
                faults.push(if self.is_count() && rows >= SHARE * f64::from(*size) {
                    Fault::Count(table.clone())
                } else {
                    Fault::Scan(table.clone())
                });
            }
            if node.kind.ends_with("Sort") {
                let input: f64 = node
                    .children
                    .iter()
                    .map(|child| child.rows * child.loops)
                    .sum();
                if input > PAGE {
                    faults.push(Fault::Sort(format!("{input:.0}")));
                }
            }
            let is_generic = [&node.condition, &node.filter]
                .into_iter()
                .flatten()
                .any(|text| text.contains('$'));
            if varies && is_generic && !faults.contains(&Fault::Generic) {
                faults.push(Fault::Generic);
            }
        });
        faults
    }
}

impl Node {
    fn visit(&self, look: &mut impl FnMut(&Self)) {
        look(self);
        for child in &self.children {
            child.visit(look);
        }
    }

    fn describe(&self, depth: usize, lines: &mut Vec<String>) {
        let part = |before: &str, name: &Option<String>| {
            name.as_ref()
                .map_or_else(String::new, |name| format!("{before}{name}"))
        };
        let loops = if self.loops > 1.0 {
            format!(" × {}", self.loops)
        } else {
            String::new()
        };
        let removed = if self.removed > 0.0 {
            format!(", {} passed over", self.removed)
        } else {
            String::new()
        };
        lines.push(format!(
            "{:indent$}{}{}{}: {} rows{loops}{removed}, {} buffers ({} read), {:.2} ms",
            "",
            self.kind,
            part(" using ", &self.index),
            part(" on ", &self.table),
            self.rows,
            self.hit + self.read,
            self.read,
            self.milliseconds,
            indent = depth * 2,
        ));
        for child in &self.children {
            child.describe(depth + 1, lines);
        }
    }
}
