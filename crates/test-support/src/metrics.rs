//! Reads the text that Prometheus scrapes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// The sum of all samples of `text` that have the name and at least the labels of `series`:
/// `name` or `name{label="value"}`. `None` if there is none.
pub(crate) fn sum_of(text: &str, series: &str) -> Result<Option<f64>> {
    let (wanted, rest) = parse(series).with_context(|| format!("`{series}` names no series"))?;
    ensure!(rest.is_empty(), "`{series}` goes on after its name");
    let mut sum = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((found, value)) = parse(line) else {
            continue;
        };
        let labelled = wanted
            .labels
            .iter()
            .all(|(name, value)| found.labels.get(name) == Some(value));
        if found.name == wanted.name && labelled {
            let value: f64 = value
                .split_whitespace()
                .next()
                .and_then(|value| value.parse().ok())
                .with_context(|| format!("`{line}` has no value"))?;
            *sum.get_or_insert(0.0) += value;
        }
    }
    Ok(sum)
}

struct Series<'a> {
    name: &'a str,
    /// Values as they are written, with their escapes.
    labels: BTreeMap<&'a str, &'a str>,
}

/// The series that `line` begins with, and what follows it.
fn parse(line: &str) -> Option<(Series<'_>, &str)> {
    let end = line.find(['{', ' ']).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let end = closing_quote(after)?;
            labels.insert(label, &after[..end]);
            rest = &after[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    (!name.is_empty()).then_some((Series { name, labels }, rest))
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let closes = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        closes.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::sum_of;

    const SCRAPE: &str = "# HELP hits {not} a series\n# TYPE hits counter\n\
        hits{tier=\"local\",kind=\"product\"} 2\nhits{tier=\"local\",kind=\"list\"} 3\n\
        hits{tier=\"redis\",kind=\"a \\\"}, b\"} 5 1700000000\nhits_total 70\nempty{} 11\n";

    #[test]
    fn a_series_is_the_sum_of_what_has_its_name_and_labels() {
        for (series, expected) in [
            ("hits", Some(10.0)),
            ("hits{tier=\"local\"}", Some(5.0)),
            ("hits{kind=\"list\",tier=\"local\"}", Some(3.0)),
            ("hits{kind=\"a \\\"}, b\"}", Some(5.0)),
            ("hits{tier=\"disk\"}", None),
            ("hits_total", Some(70.0)),
            ("empty", Some(11.0)),
            ("hit", None),
        ] {
            assert_eq!(sum_of(SCRAPE, series).unwrap(), expected, "{series}");
        }
    }

    #[test]
    fn what_names_no_series_is_refused() {
        for series in ["", "hits{tier=local}", "hits{tier=\"local\"", "hits 1"] {
            assert!(sum_of(SCRAPE, series).is_err(), "{series}");
        }
    }
}
