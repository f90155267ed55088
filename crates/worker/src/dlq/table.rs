//! Dead letters as a table.

use bharatmart_queue::{JobRecord, KeptBy};
use chrono::SecondsFormat;

/// The longest reason, in characters.
const LONGEST_REASON: usize = 80;

/// Dead letters for people, a line each.
pub(super) fn table(letters: &[JobRecord]) -> String {
    let heads = [
        "FAILED", "QUEUE", "JOB", "ID", "ATTEMPTS", "KEPT BY", "REASON",
    ];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(letters.iter().map(|letter| {
        let failed = letter.finished_at.map_or_else(
            || "-".to_owned(),
            |time| time.to_rfc3339_opts(SecondsFormat::Secs, true),
        );
        let kept_by = match letter.kept_by {
            KeptBy::Queue => "queue",
            KeptBy::Outbox => "outbox",
        };
        let reason = one_line(letter.failed_reason.as_deref().unwrap_or("-"));
        let reason = match reason.char_indices().nth(LONGEST_REASON) {
            Some((end, _)) => format!("{}…", &reason[..end]),
            None => reason,
        };
        [
            failed,
            one_line(&letter.queue),
            one_line(&letter.name),
            one_line(&letter.id),
            letter.attempts_made.to_string(),
            kept_by.to_owned(),
            reason,
        ]
    }));
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Nothing in a job may end the line or steer the terminal.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
