use std::{collections::BTreeMap, fs, path::Path, time::SystemTime};

use anyhow::{Context, Result};
use mail_parser::{Address, MessageParser};

/// A mail as its recipient gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMail {
    /// Without the angle brackets.
    pub message_id: String,
    /// The sender's address.
    pub from: String,
    /// The recipients' addresses.
    pub to: Vec<String>,
    /// Decoded.
    pub subject: String,
    /// All header fields as they were sent; the names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The text part, decoded; empty if there is none.
    pub text: String,
    /// The HTML part, decoded; empty if there is none.
    pub html: String,
}

/// Reads every mail in a folder, oldest first: the files that end in `.eml`, but none that is
/// hidden.
///
/// # Errors
/// When the folder or a mail cannot be read or parsed.
pub fn read_mail_dir(folder: &Path) -> Result<Vec<ReceivedMail>> {
    read_mails(folder, |path| {
        path.extension().is_some_and(|extension| extension == "eml")
    })
}

/// Reads every mail in one of a Maildir's folders, oldest first. Its files have names of any kind,
/// and are whole as soon as they are there.
///
/// # Errors
/// When the folder or a mail cannot be read or parsed.
pub(crate) fn read_maildir(folder: &Path) -> Result<Vec<ReceivedMail>> {
    read_mails(folder, |_| true)
}

fn read_mails(folder: &Path, is_mail: impl Fn(&Path) -> bool) -> Result<Vec<ReceivedMail>> {
    let mut files = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let entry = entry?;
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && is_mail(&path) && entry.file_type()?.is_file() {
            let written = entry
                .metadata()?
                .modified()
                .unwrap_or(SystemTime::UNIX_EPOCH);
            files.push((written, path));
        }
    }
    files.sort();
    files.iter().map(|(_, path)| read_mail(path)).collect()
}

fn read_mail(path: &Path) -> Result<ReceivedMail> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mail = MessageParser::default()
        .parse(&bytes)
        .with_context(|| format!("{} is not a mail", path.display()))?;
    let text_of = |text: Option<std::borrow::Cow<'_, str>>| text.unwrap_or_default().into_owned();
    // `body_text` and `body_html` make the one from the other where a part is missing.
    let has_text = mail
        .text_bodies()
        .any(|part| part.is_text() && !part.is_text_html());
    let has_html = mail
        .html_bodies()
        .any(mail_parser::MessagePart::is_text_html);
    Ok(ReceivedMail {
        message_id: mail.message_id().unwrap_or_default().to_owned(),
        from: addresses(mail.from())
            .into_iter()
            .next()
            .unwrap_or_default(),
        to: addresses(mail.to()),
        subject: mail.subject().unwrap_or_default().to_owned(),
        headers: mail
            .headers_raw()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
        text: if has_text {
            text_of(mail.body_text(0))
        } else {
            String::new()
        },
        html: if has_html {
            text_of(mail.body_html(0))
        } else {
            String::new()
        },
    })
}

fn addresses(list: Option<&Address<'_>>) -> Vec<String> {
    list.into_iter()
        .flat_map(Address::iter)
        .filter_map(|address| address.address().map(str::to_owned))
        .collect()
}
