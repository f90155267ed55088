//! What a file of products says, and all that is wrong with it.

use std::{collections::HashMap, fmt::Display, str::FromStr};

use bharatmart_database::products::import::{Columns, Line};
use bharatmart_domain::Money;
use csv::{Reader, ReaderBuilder, StringRecord};

use crate::{
    error::{ApiError, FieldError},
    fields::{self, ImageUrl, Text},
    products::{CategoryName, Description, Name, Sku, Stock},
};

/// The most products in a file.
const MAX_LINES: usize = 100_000;
/// The most errors that are told one by one.
const MAX_ERRORS: usize = 100;
/// The columns that must be there, and the others.
const REQUIRED: [&str; 4] = ["sku", "name", "price", "category"];
const OPTIONAL: [&str; 3] = ["description", "stock_quantity", "image_url"];
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A file without errors.
#[derive(Debug)]
pub(super) struct File {
    pub(super) lines: Vec<Line>,
    pub(super) columns: Columns,
    /// In which line of the file a stock-keeping unit is.
    pub(super) numbers: HashMap<String, usize>,
}

/// What is wrong with a file.
#[derive(Debug, Default)]
pub(super) struct Errors {
    fields: Vec<FieldError>,
    further: usize,
}

impl Errors {
    pub(super) fn add(&mut self, number: usize, column: Option<&str>, message: impl Into<String>) {
        if self.fields.len() == MAX_ERRORS {
            self.further += 1;
            return;
        }
        let place = match column {
            Some(column) => format!("line {number}: {column}"),
            None => format!("line {number}"),
        };
        self.fields.push(FieldError::new(place, message));
    }

    pub(super) fn into_fields(self) -> Vec<FieldError> {
        let mut fields = self.fields;
        if self.further > 0 {
            fields.push(FieldError::new(
                "file",
                format!("has {} more errors", self.further),
            ));
        }
        fields
    }

    fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// Whether quotes in a record stand where RFC 4180 has them: around a whole field, and within it twice. The parser takes
/// others for text, and so may run two records into one.
fn is_well_quoted(record: &str) -> bool {
    enum At {
        Start,
        Bare,
        Quoted,
        /// After a quote that ends the field, unless another one follows.
        Closed,
    }
    let mut at = At::Start;
    for byte in record.bytes() {
        at = match (at, byte) {
            (At::Quoted, b'"') => At::Closed,
            (At::Quoted, _) | (At::Start | At::Closed, b'"') => At::Quoted,
            (At::Start | At::Bare | At::Closed, b',' | b'\r' | b'\n') => At::Start,
            (At::Bare, b'"') | (At::Closed, _) => return false,
            (At::Start | At::Bare, _) => At::Bare,
        };
    }
    !matches!(at, At::Quoted)
}

/// Where each column is.
struct Header(HashMap<&'static str, usize>);

impl Header {
    fn parse(record: &StringRecord, number: usize, errors: &mut Errors) -> Self {
        let mut places = HashMap::new();
        for (place, cell) in record.iter().enumerate() {
            let cell = cell.trim();
            let known = REQUIRED.iter().chain(&OPTIONAL);
            match known.copied().find(|name| cell.eq_ignore_ascii_case(name)) {
                None => {
                    let all = [REQUIRED.as_slice(), &OPTIONAL].concat().join(", ");
                    let name: String = cell.chars().take(64).collect();
                    errors.add(
                        number,
                        Some(&name),
                        format!("is no column; there are {all}"),
                    );
                }
                Some(name) => {
                    if places.insert(name, place).is_some() {
                        errors.add(number, Some(name), "must be there once");
                    }
                }
            }
        }
        for name in REQUIRED.iter().filter(|name| !places.contains_key(*name)) {
            errors.add(number, Some(name), "is a required column");
        }
        Self(places)
    }

    fn columns(&self) -> Columns {
        Columns {
            description: self.0.contains_key("description"),
            image_url: self.0.contains_key("image_url"),
        }
    }
}

/// The records of a text, and in which lines they begin.
struct Records<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    /// Up to which byte lines are counted, and how many there are.
    counted: (usize, usize),
}

impl<'a> Records<'a> {
    fn of(text: &'a str) -> Self {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        Self {
            text,
            reader,
            counted: (0, 1),
        }
    }

    /// Reads the next record; the number of its line. `Err` after a quote that makes it unclear where the
    /// record ends: a single one may hide the rest of the file.
    fn next(&mut self, record: &mut StringRecord) -> Result<Option<usize>, usize> {
        let from = self.offset();
        let more = self.reader.read_record(record);
        let raw = &self.text[from..self.offset()];
        let leading = raw.len() - raw.trim_start_matches(['\r', '\n']).len();
        let number = self.number_at(from + leading);
        // A text has no other errors, since records may have any length.
        let more = more.map_err(|_| number)?;
        if !is_well_quoted(raw) {
            return Err(number);
        }
        Ok(more.then_some(number))
    }

    fn offset(&self) -> usize {
        let offset = usize::try_from(self.reader.position().byte());
        offset.map_or(self.text.len(), |offset| offset.min(self.text.len()))
    }

    /// The number of the line of this byte; asked for in ascending order. Lines end as records may: with CRLF, LF
    /// or CR.
    fn number_at(&mut self, offset: usize) -> usize {
        let (from, mut number) = self.counted;
        let bytes = self.text.as_bytes();
        for at in from..offset {
            let ends = match bytes[at] {
                b'\n' => true,
                b'\r' => bytes.get(at + 1) != Some(&b'\n'),
                _ => false,
            };
            number += usize::from(ends);
        }
        self.counted = (offset.max(from), number);
        number
    }
}

impl File {
    /// Reads a file, with whatever line ends and with or without a byte order mark.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut errors = Errors::default();
        let file = match std::str::from_utf8(body) {
            Ok(text) => Self::read(text, &mut errors),
            Err(error) => {
                let good = &body[..error.valid_up_to()];
                let number = good.split(|byte| *byte == b'\n').count();
                errors.add(number, None, "is not valid UTF-8");
                None
            }
        };
        file.filter(|_| errors.is_empty())
            .ok_or_else(|| ApiError::Invalid {
                errors: errors.into_fields(),
                sentence: Some("Nothing was imported: the file has errors"),
            })
    }

    /// `None` when it is not worth reading on.
    fn read(text: &str, errors: &mut Errors) -> Option<Self> {
        const STRAY_QUOTE: &str = "has a quote in the wrong place: a field that has one is put between quotes, and each in it is written twice";
        let mut records = Records::of(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text));
        let mut record = StringRecord::new();
        let header = match records.next(&mut record) {
            Ok(Some(number)) => Header::parse(&record, number, errors),
            Ok(None) => {
                let names = REQUIRED.join(", ");
                errors.add(1, None, format!("must name the columns: at least {names}"));
                return None;
            }
            Err(number) => {
                errors.add(number, None, STRAY_QUOTE);
                return None;
            }
        };
        if !errors.is_empty() {
            return None;
        }
        let fields = record.len();
        let mut file = Self {
            lines: Vec::new(),
            columns: header.columns(),
            numbers: HashMap::new(),
        };
        loop {
            let number = match records.next(&mut record) {
                Ok(Some(number)) => number,
                Ok(None) => return Some(file),
                Err(number) => {
                    errors.add(number, None, STRAY_QUOTE);
                    return None;
                }
            };
            if file.lines.len() == MAX_LINES {
                errors.add(
                    number,
                    None,
                    format!("is one too many: there may be {MAX_LINES} products"),
                );
                return None;
            }
            if record.len() == fields {
                file.add(
                    number,
                    &Row {
                        header: &header,
                        record: &record,
                    },
                    errors,
                );
            } else {
                let has = record.len();
                errors.add(
                    number,
                    None,
                    format!("has {has} fields instead of {fields}"),
                );
            }
        }
    }

    fn add(&mut self, number: usize, row: &Row<'_>, errors: &mut Errors) {
        let mut cells = Cells {
            number,
            row,
            errors,
        };
        let sku: Option<Sku> = cells.required("sku");
        let name: Option<Name> = cells.required("name");
        let price: Option<Money> = cells.required("price");
        let category: Option<CategoryName> = cells.required("category");
        let description: Option<Description> = cells.optional("description");
        let stock: Option<Stock> = cells.optional("stock_quantity");
        let image_url: Option<ImageUrl> = cells.optional("image_url");
        let Some(sku) = sku.map(fields::Line::into_string) else {
            return;
        };
        if let Some(earlier) = self.numbers.get(&sku) {
            errors.add(
                number,
                Some("sku"),
                format!("is that of line {earlier} as well"),
            );
            return;
        }
        self.numbers.insert(sku.clone(), number);
        if let (Some(name), Some(price), Some(category)) = (name, price, category) {
            self.lines.push(Line {
                sku,
                name: name.into_string(),
                price,
                category: category.into_string(),
                description: description.map(Text::into_string),
                image_url: image_url.map(ImageUrl::into_string),
                stock_quantity: stock.map(|stock| stock.0),
            });
        }
    }
}

/// One line.
struct Row<'a> {
    header: &'a Header,
    record: &'a StringRecord,
}

/// The cells of one line, and where to say what is wrong with them.
struct Cells<'a> {
    number: usize,
    row: &'a Row<'a>,
    errors: &'a mut Errors,
}

impl Cells<'_> {
    /// An empty cell says nothing.
    fn optional<T: FromStr<Err: Display>>(&mut self, column: &'static str) -> Option<T> {
        let place = self.row.header.0.get(column)?;
        let cell = self.row.record.get(*place).map(str::trim)?;
        if cell.is_empty() {
            return None;
        }
        match cell.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.errors
                    .add(self.number, Some(column), error.to_string());
                None
            }
        }
    }

    fn required<T: FromStr<Err: Display>>(&mut self, column: &'static str) -> Option<T> {
        let place = self.row.header.0.get(column)?;
        let cell = self.row.record.get(*place).unwrap_or_default();
        if cell.trim().is_empty() {
            self.errors.add(self.number, Some(column), "is required");
            return None;
        }
        self.optional(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "sku,name,price,category,description,stock_quantity,image_url\n";

    fn errors(body: &[u8]) -> Vec<(String, String)> {
        match File::parse(body).unwrap_err() {
            ApiError::Invalid { errors, .. } => errors
                .into_iter()
                .map(|error| (error.field, error.message))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn places(body: &str) -> Vec<String> {
        errors(body.as_bytes())
            .into_iter()
            .map(|(place, _)| place)
            .collect()
    }

    #[test]
    fn files_of_all_makes_are_read() {
        for (start, end) in [("", "\n"), ("", "\r\n"), ("", "\r"), ("\u{feff}", "\r\n")] {
            let text = [
                "sku,Name,price,category,description",
                "A,\"Tea, black\",1.50,Food,\"two\nlines \"\"and\"\" quotes\"",
                "",
                "B,Rice,2,Food,",
            ]
            .join(end);
            let file = File::parse(format!("{start}{text}{end}").as_bytes()).unwrap();
            let [tea, rice] = file.lines.as_slice() else {
                panic!("{:?}", file.lines);
            };
            assert_eq!((tea.name.as_str(), tea.price.paise()), ("Tea, black", 150));
            assert_eq!(
                tea.description.as_deref(),
                Some("two\nlines \"and\" quotes")
            );
            assert_eq!(
                (rice.description.as_deref(), rice.stock_quantity),
                (None, None)
            );
            let columns = Columns {
                description: true,
                image_url: false,
            };
            assert_eq!(file.columns, columns);
            assert_eq!(file.numbers["A"], 2);
            // The quoted line break counts where it is one.
            assert_eq!(file.numbers["B"], 5, "{end:?}");
        }
    }

    #[test]
    fn lines_are_numbered_as_an_editor_does() {
        for end in ["\n", "\r\n", "\r"] {
            let text = [
                "sku,name,price,category",
                "A,Tea,x,Food",
                "",
                "",
                "B,Rice,y,Food",
                "C,Salt,z,Food",
            ]
            .join(end);
            assert_eq!(
                places(&text),
                ["line 2: price", "line 5: price", "line 6: price"],
                "{end:?}"
            );
        }
    }

    #[test]
    fn every_wrong_cell_is_named() {
        let text = format!(
            "{HEADER}A,Tea,1,Food,,,\nB,,-1,Food,,2.5,javascript:x\nC,{},1,Food,,,\nA,Tea,1,Food,,,\nD,x\n",
            "x".repeat(201)
        );
        let found = errors(text.as_bytes());
        let places: Vec<_> = found.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(
            places,
            [
                "line 3: name",
                "line 3: price",
                "line 3: stock_quantity",
                "line 3: image_url",
                "line 4: name",
                "line 5: sku",
                "line 6"
            ]
        );
        assert_eq!(found[5].1, "is that of line 2 as well");
        assert_eq!(found[6].1, "has 2 fields instead of 7");
    }

    #[test]
    fn a_wrong_header_is_named() {
        assert_eq!(places(""), ["line 1"]);
        assert_eq!(places("sku,name,price\nA,Tea,1\n"), ["line 1: category"]);
        assert_eq!(
            places("sku,name,price,category,colour,sku\n"),
            ["line 1: colour", "line 1: sku"]
        );
    }

    #[test]
    fn a_quote_that_is_not_closed_hides_nothing() {
        for text in [
            format!("{HEADER}A,Tea,1,Food,,,\nB,Rice,1,Food,\"long,,\nC,Salt,1,Food,,,\n"),
            format!("{HEADER}A,Tea,1,Food,,,\nB,Rice 5\",1,Food,,,\nC,Salt,1,Food,,,\n"),
            format!("{HEADER}A,Tea,1,Food,,,\nB,Rice 5\",1,Food,\"\",,\nC,Salt 2\",1,Food,,,\n"),
            format!("{HEADER}A,Tea,1,Food,,,\nB,\"Best\" rice,1,Food,,,\n"),
            // Two that make one record of as many fields as there are columns.
            format!("{HEADER}A,Tea,1,Food,,,\nB,Pan,1,Food,\"6 inch,,\nC,Pot,1,Food,\"8 inch,,\n"),
        ] {
            assert_eq!(places(&text), ["line 3"], "{text}");
        }
    }

    #[test]
    fn what_is_no_utf8_is_named() {
        let mut body = format!("{HEADER}A,Tea,1,Food,,,\nB,").into_bytes();
        body.extend(b"caf\xe9,1,Food,,,\n");
        assert_eq!(errors(&body)[0].0, "line 3");
    }

    #[test]
    fn no_more_than_a_hundred_errors_are_told() {
        let text = format!("{HEADER}{}", "A,Tea,x,Food,,,\n".repeat(150));
        let found = errors(text.as_bytes());
        assert_eq!(found.len(), 101);
        // Each line has a wrong price, and all but the first the same SKU.
        assert_eq!(
            found[100],
            ("file".to_owned(), "has 199 more errors".to_owned())
        );
    }

    #[test]
    fn there_may_be_a_hundred_thousand_products_and_no_more() {
        let lines = |count: usize| {
            (0..count).fold(HEADER.to_owned(), |text, number| {
                text + &format!("S{number},Tea,1,Food,,,\n")
            })
        };
        assert_eq!(
            File::parse(lines(MAX_LINES).as_bytes())
                .unwrap()
                .lines
                .len(),
            MAX_LINES
        );
        assert_eq!(places(&lines(MAX_LINES + 1)), ["line 100002"]);
    }
}
