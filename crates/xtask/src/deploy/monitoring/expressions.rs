//! What dashboards and rules ask for.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Words of the language itself, which Prometheus writes in small letters.
const KEYWORDS: [&str; 8] = [
    "and", "or", "unless", "offset", "bool", "atan2", "inf", "nan",
];
/// What may follow an expression, with labels in parentheses behind it.
const GROUPINGS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// The queries of every panel of every dashboard.
pub fn of_dashboards(folder: &Path) -> Result<Vec<String>> {
    let mut queries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path)?)
            .with_context(|| path.display().to_string())?;
        let panels = dashboard["panels"].as_array().context("no panels")?;
        let targets = panels
            .iter()
            .filter_map(|panel| panel["targets"].as_array());
        let before = queries.len();
        queries.extend(
            targets
                .flatten()
                .filter_map(|target| target["expr"].as_str().map(str::to_owned)),
        );
        ensure!(
            queries.len() > before,
            "{} asks for nothing",
            path.display()
        );
    }
    Ok(queries)
}

/// The expressions of every rule of every file.
pub fn of_rules(folder: &Path) -> Result<Vec<String>> {
    of_each_rule(folder, "expr")
}

/// The names under which results are kept.
pub fn recorded(folder: &Path) -> Result<Vec<String>> {
    of_each_rule(folder, "record")
}

fn of_each_rule(folder: &Path, key: &str) -> Result<Vec<String>> {
    let mut expressions = Vec::new();
    for entry in fs::read_dir(folder)? {
        let rules: Value = serde_norway::from_str(&fs::read_to_string(entry?.path())?)?;
        let groups = rules["groups"].as_array().into_iter().flatten();
        let rules = groups
            .filter_map(|group| group["rules"].as_array())
            .flatten();
        expressions.extend(rules.filter_map(|rule| rule[key].as_str().map(str::to_owned)));
    }
    ensure!(!expressions.is_empty(), "there are no rules");
    Ok(expressions)
}

/// The names of the metrics in an expression, as Prometheus itself has written it.
pub fn metrics(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if let Some(end) = skipped(rest, first) {
            rest = &rest[end..];
            continue;
        }
        let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        let next = after.trim_start();
        // `sum(…)` and `sum by (…) (…)`.
        let called = ["(", "by (", "without ("]
            .iter()
            .any(|open| next.starts_with(open));
        if GROUPINGS.contains(&word) && called {
            rest = after.split_once(')').map_or("", |(_, behind)| behind);
        } else if !called
            && !KEYWORDS.contains(&word)
            && !word.starts_with(|first: char| first.is_ascii_digit())
        {
            names.insert(word.to_owned());
        }
    }
    names
}

/// The length of what is no word: labels, text, ranges, or a single sign.
fn skipped(rest: &str, first: char) -> Option<usize> {
    let closing = match first {
        '{' => '}',
        '[' => ']',
        '"' => '"',
        _ if is_word(first) => return None,
        _ => return Some(first.len_utf8()),
    };
    let mut quoted = false;
    for (at, letter) in rest.char_indices().skip(1) {
        if letter == closing && !quoted {
            return Some(at + 1);
        }
        quoted ^= letter == '"';
    }
    Some(rest.len())
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
}

#[cfg(test)]
mod tests {
    use super::metrics;

    #[test]
    fn metrics_are_told_from_functions_labels_and_numbers() {
        let found = metrics(
            "histogram_quantile(0.99, sum by (le, queue) (rate(job_duration_seconds_bucket{route!=\"/{id}/x\"}[5m]))) > 1e3 or job:x:y and up",
        );
        let expected = ["job:x:y", "job_duration_seconds_bucket", "up"];
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    }
}
